import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { silentLogger } from '@sendense/runtime';
import { PortPool } from './ports.js';
import { BackupQueue, type Demand, type Place } from './queue.js';

const MANY = { total: 50, perNode: 50, perHost: 50, perDatastore: 50 };

class Fixture implements Disposable {
  readonly pool: PortPool;
  readonly queue: BackupQueue;
  readonly started: string[] = [];
  readonly places = new Map<string, Place>();
  readonly refused = new Map<string, SendenseError>();
  readonly stops = new Map<string, AbortController>();

  constructor({ limits = {}, ports = 101 }: { limits?: Partial<typeof MANY>; ports?: number } = {}) {
    this.pool = new PortPool({
      range: { first: 10_100, last: 10_099 + ports },
      log: silentLogger,
      isFree: async () => true,
    });
    this.queue = new BackupQueue({
      limits: { ...MANY, ...limits },
      pool: this.pool,
      log: silentLogger,
      portRetryMs: 5_000,
    });
  }

  /** Answers once the backup was started or put to wait. */
  async enter(jobId: string, demand: Partial<Demand> = {}): Promise<void> {
    const stop = new AbortController();
    this.stops.set(jobId, stop);
    await new Promise<void>((resolve) => {
      this.queue
        .enter(
          { jobId, nodeName: 'n', vcenterId: 'v', ports: 1, host: 'h', datastores: ['d'], ...demand },
          stop.signal,
          resolve,
        )
        .then(
          (place) => {
            this.started.push(jobId);
            this.places.set(jobId, place);
          },
          (error: SendenseError) => void this.refused.set(jobId, error),
        )
        .finally(resolve);
    });
  }

  async leave(jobId: string): Promise<void> {
    this.places.get(jobId)?.[Symbol.dispose]();
    await settled();
  }

  get waiting(): string[] {
    return this.queue.view().map(({ jobId }) => jobId);
  }

  [Symbol.dispose](): void {
    this.queue[Symbol.dispose]();
  }
}

/** All promises that are ready have run. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe('BackupQueue', () => {
  it('starts what fits and lets the others wait in order', async () => {
    using fixture = new Fixture({ limits: { total: 2 } });
    for (const id of ['a', 'b', 'c', 'd']) await fixture.enter(id);
    expect(fixture.started).toEqual(['a', 'b']);
    expect(fixture.queue.view()).toMatchObject([
      { jobId: 'c', position: 1, waitingFor: 'the hub, which runs 2 backups now' },
      { jobId: 'd', position: 2 },
    ]);
    await fixture.leave('b');
    expect(fixture.started).toEqual(['a', 'b', 'c']);
    await fixture.leave('a');
    expect(fixture.started).toEqual(['a', 'b', 'c', 'd']);
  });

  it.each([
    ['node', { perNode: 1 }, { nodeName: 'other' }],
    ['ESXi host', { perHost: 1 }, { host: 'other' }],
    ['datastore', { perDatastore: 1 }, { datastores: ['other'] }],
  ])('keeps the limit of one %s and lets those pass that do not need it', async (name, limits, elsewhere) => {
    using fixture = new Fixture({ limits });
    await fixture.enter('a');
    await fixture.enter('b');
    await fixture.enter('c', elsewhere);
    expect(fixture.started).toEqual(['a', 'c']);
    expect(fixture.queue.view()[0]?.waitingFor).toContain(name);
    await fixture.leave('a');
    expect(fixture.started).toEqual(['a', 'c', 'b']);
  });

  it('counts a datastore once for a VM with several disks on it', async () => {
    using fixture = new Fixture({ limits: { perDatastore: 1 } });
    await fixture.enter('a', { datastores: ['d', 'd', 'e'] });
    expect(fixture.started).toEqual(['a']);
    await fixture.enter('b', { datastores: ['e'] });
    expect(fixture.waiting).toEqual(['b']);
  });

  it('is not overtaken for ever by small ones when it needs many ports', async () => {
    using fixture = new Fixture({ ports: 4 });
    await fixture.enter('a', { ports: 2 });
    await fixture.enter('b', { ports: 1 });
    await fixture.enter('big', { ports: 4 });
    await fixture.enter('small', { ports: 1 });
    expect(fixture.waiting).toEqual(['big', 'small']);
    expect(fixture.queue.view()[0]?.waitingFor).toBe('4 NBD ports');
    await fixture.leave('a');
    expect(fixture.waiting).toEqual(['big', 'small']);
    await fixture.leave('b');
    expect(fixture.started).toEqual(['a', 'b', 'big']);
    await fixture.leave('big');
    expect(fixture.started).toEqual(['a', 'b', 'big', 'small']);
  });

  it('is passed by those that need nothing of what it waits for, but not for ever', async () => {
    using fixture = new Fixture({ limits: { total: 3, perHost: 1 } });
    await fixture.enter('a', { host: 'x' });
    await fixture.enter('b', { host: 'x' });
    for (const id of ['c', 'd', 'e', 'f', 'g']) {
      await fixture.enter(id, { host: id });
      await fixture.leave(id);
    }
    expect(fixture.started).toEqual(['a', 'c', 'd', 'e']);
    expect(fixture.waiting).toEqual(['b', 'f', 'g']);
    await fixture.leave('a');
    expect(fixture.started).toEqual(['a', 'c', 'd', 'e', 'b', 'f', 'g']);
  });

  it('refuses what could never start', async () => {
    using fixture = new Fixture({ ports: 3 });
    await fixture.enter('a', { ports: 4 });
    expect(fixture.refused.get('a')).toMatchObject({
      code: 'no_port_available',
      message: expect.stringContaining('the hub has 3'),
    });
    expect(fixture.waiting).toEqual([]);
  });

  it('lets a cancelled one go, and those behind it move up', async () => {
    using fixture = new Fixture({ ports: 2 });
    await fixture.enter('a');
    await fixture.enter('b', { ports: 2 });
    await fixture.enter('c');
    fixture.stops.get('b')?.abort(new SendenseError('cancelled', 'by the test'));
    await settled();
    expect(fixture.refused.get('b')).toMatchObject({ code: 'cancelled', message: 'by the test' });
    expect(fixture.started).toEqual(['a', 'c']);
    await fixture.enter('late');
    expect(fixture.waiting).toEqual(['late']);
  });

  it('leaves no port leased when many come, wait, are cancelled and go', async () => {
    using fixture = new Fixture({ limits: { total: 7 }, ports: 11 });
    const ids = Array.from({ length: 60 }, (_, index) => `j${index}`);
    for (const [index, id] of ids.entries()) await fixture.enter(id, { ports: (index % 3) + 1 });
    for (const id of ids.filter((_, index) => index % 4 === 1)) fixture.stops.get(id)?.abort();
    await settled();
    for (const id of ids) await fixture.leave(id);
    for (const id of ids) await fixture.leave(id);
    expect(fixture.waiting).toEqual([]);
    expect(fixture.started.length + fixture.refused.size).toBe(60);
    expect(fixture.pool.view()).toMatchObject({ free: 11, leased: [] });
    const order = fixture.started.map((id) => Number(id.slice(1)));
    expect(order).toEqual(order.toSorted((a, b) => a - b));
  });
});
