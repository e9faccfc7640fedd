import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { eventually, requires } from '@sendense/runtime/testing';
import { Constellation, CONSTELLATION_TOOLS, NOTHING_LEFT } from './constellation.js';
import { freePortRange } from './stage/spine.js';

const MIB = 2 ** 20;

requires(describe, ...CONSTELLATION_TOOLS)('the whole path, many backups at once', () => {
  let all: Constellation;

  beforeAll(async () => {
    const { first, last } = await freePortRange(101);
    all = await Constellation.start({
      settings: { SENDENSE_NBD_PORTS: `${first}-${last}` },
      // So many at once keep a slow machine from everything else.
      timing: { nodeLostMs: 30_000 },
    });
  });

  afterAll(async () => {
    await all[Symbol.asyncDispose]();
  });

  it('12 VMs of 2 disks run together, all identical, and nothing is left', async () => {
    const vms = [];
    for (let index = 0; index < 12; index++) {
      const disks = [{ sizeBytes: 2 * MIB }, { sizeBytes: MIB + 512, controller: 'scsi1' as const }];
      vms.push(await all.addVm({ name: `vm-${index}`, disks }, MIB));
    }
    // Reads that take their time hold every backup until all of them run, also where twelve are started slowly.
    all.lab.setFault({ operation: 'vddk.read', delayMs: 600_000 });
    const started = await Promise.all(vms.map(({ name }) => all.start(name)));
    expect(started.map(({ status }) => status)).toEqual(vms.map(() => 202));
    await eventually(
      'all twelve have their ports',
      () => all.hub.hub.context.runs.leases().leased.length === 24,
      60_000,
    );
    all.lab.clearFaults();
    for (const [index, { body }] of started.entries()) {
      const ended = await all.end(String(body['backup_id']), 120_000);
      expect(ended).toMatchObject({ state: 'completed', error: null });
      expect(Object.values(await all.compare(vms[index]!, ended))).toEqual([true, true]);
      expect(all.snapshotsSince(vms[index]!)).toEqual({ created: 1, removed: 1 });
    }
    await eventually('nothing is left', () => {
      expect(all.leftovers()).toEqual(NOTHING_LEFT);
      return true;
    });
    expect(all.hub.hub.context.runs.leases().free).toBe(101);
  }, 240_000);

  it('60 VMs of 2 disks wait in the queue and all complete, and everything returns to the start', async () => {
    const names: string[] = [];
    for (let index = 0; index < 60; index++) {
      const disks = [{ sizeBytes: MIB }, { sizeBytes: MIB }];
      names.push((await all.addVm({ name: `queued-${index}`, disks }, 64 << 10)).name);
    }
    const before = memoryMib(all);
    const { runs } = all.hub.hub.context;
    all.lab.setFault({ operation: 'CreateSnapshot_Task', delayMs: 600_000 });
    const started = await Promise.all(names.map((name) => all.start(name)));
    expect(started.map(({ status }) => status)).toEqual(names.map(() => 202));
    await eventually('all others wait', () => runs.queue().length === 44, 120_000);
    const waiting = Array.from({ length: 44 }, () => 'datastore labds, which serves 16 backups now');
    expect(runs.queue().map(({ waitingFor }) => waitingFor)).toEqual(waiting);
    all.lab.clearFaults();
    const ids = started.map(({ body }) => String(body['backup_id']));
    for (const id of ids) expect(await all.end(id, 240_000)).toMatchObject({ state: 'completed' });
    await eventually('nothing is left', () => {
      expect(all.leftovers()).toEqual(NOTHING_LEFT);
      return true;
    });
    expect(runs.leases()).toMatchObject({ free: 101, taken: [] });
    expect(runs.queue()).toEqual([]);
    // Hub and node keep what they know of 60 backups; one backup's buffers alone would be more.
    await eventually('the memory is back', () => {
      const after = memoryMib(all);
      expect(after.heap - before.heap).toBeLessThan(20);
      expect(after.workers - before.workers).toBeLessThan(40);
      return true;
    });
  }, 400_000);
});

requires(describe, ...CONSTELLATION_TOOLS)('the whole path, with ports for two VMs of 2 disks', () => {
  it('a third one waits for ports, and all complete', async () => {
    const { first } = await freePortRange(5);
    await using all = await Constellation.start({
      settings: { SENDENSE_NBD_PORTS: `${first}-${first + 4}` },
    });
    const names = ['one', 'two', 'three'];
    for (const name of names) await all.addVm({ name, disks: [{ sizeBytes: MIB }, { sizeBytes: MIB }] }, MIB);
    const { runs } = all.hub.hub.context;
    all.lab.setFault({ operation: 'CreateSnapshot_Task', delayMs: 600_000 });
    const ids: string[] = [];
    for (const name of names) ids.push(String((await all.start(name)).body['backup_id']));
    await eventually('the third one waits', () => runs.queue().length === 1);
    expect(runs.queue()).toMatchObject([{ jobId: ids[2], position: 1, waitingFor: '2 NBD ports' }]);
    expect((await all.backup(ids[2] ?? '')).state).toBe('queued');
    expect(runs.leases()).toMatchObject({ free: 1, taken: [] });
    all.lab.clearFaults();
    for (const id of ids) expect(await all.end(id)).toMatchObject({ state: 'completed', error: null });
    await eventually('nothing is left', () => {
      expect(all.leftovers()).toEqual(NOTHING_LEFT);
      return true;
    });
    expect(runs.leases()).toMatchObject({ free: 5, taken: [] });
  }, 120_000);
});

/** What hub, node and lab hold in this process when garbage is collected, and what the tunnel workers have resident. */
function memoryMib(all: Constellation): { heap: number; workers: number } {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  const resident = all
    .hubProcesses()
    .map(({ pid }) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0));
  return { heap: (heapUsed + external) / MIB, workers: resident.reduce((sum, kib) => sum + kib, 0) / 1024 };
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
}
