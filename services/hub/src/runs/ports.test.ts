import { createServer, type AddressInfo } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { silentLogger } from '@sendense/runtime';
import { PortPool } from './ports.js';

const job = (jobId: string) => ({ jobId, nodeName: 'berlin' });

function pool(taken: ReadonlySet<number> = new Set(), last = 10_103) {
  return new PortPool({
    range: { first: 10_100, last },
    log: silentLogger,
    isFree: async (port) => !taken.has(port),
  });
}

describe('PortPool', () => {
  it('leases the lowest free ports to one job and gets them all back', async () => {
    const ports = pool();
    const first = await ports.lease(job('a'), 2);
    const second = await ports.lease(job('b'), 1);
    expect(first?.ports).toEqual([10_100, 10_101]);
    expect(second?.ports).toEqual([10_102]);
    expect(ports.leaseOf(10_101)).toEqual({ port: 10_101, jobId: 'a', nodeName: 'berlin' });
    first?.[Symbol.dispose]();
    first?.[Symbol.dispose]();
    expect(ports.leaseOf(10_101)).toBeUndefined();
    expect((await ports.lease(job('c'), 1))?.ports).toEqual([10_100]);
    second?.[Symbol.dispose]();
    expect(ports.view()).toMatchObject({ free: 3, leased: [{ jobId: 'c' }] });
  });

  it('leases all or none', async () => {
    const ports = pool();
    await ports.lease(job('a'), 2);
    expect(await ports.lease(job('b'), 3)).toBeUndefined();
    expect(ports.view()).toMatchObject({ free: 2, leased: [{ jobId: 'a' }, { jobId: 'a' }] });
  });

  it('gives no port to two jobs that ask at the same time', async () => {
    const ports = pool(new Set(), 10_199);
    const leases = await Promise.all(
      Array.from({ length: 60 }, (_, index) => ports.lease(job(`j${index}`), 2)),
    );
    const given = leases.flatMap((lease) => lease?.ports ?? []);
    expect(given).toHaveLength(100);
    expect(new Set(given).size).toBe(100);
    for (const lease of leases) lease?.[Symbol.dispose]();
    expect(ports.view()).toEqual({ first: 10_100, last: 10_199, leased: [], taken: [], free: 100 });
  });

  it('passes over a port that a stranger holds, reports it, and uses it again once it is free', async () => {
    const taken = new Set([10_100]);
    const ports = pool(taken);
    const lease = await ports.lease(job('a'), 2);
    expect(lease?.ports).toEqual([10_101, 10_102]);
    expect(ports.view()).toMatchObject({ free: 1, taken: [{ port: 10_100 }] });
    taken.clear();
    expect((await ports.lease(job('b'), 1))?.ports).toEqual([10_100]);
    expect(ports.view().taken).toEqual([]);
  });

  it('replaces a port that a stranger took in between, and says so when there is no other', async () => {
    const ports = pool(new Set(), 10_101);
    const lease = await ports.lease(job('a'), 1);
    expect(await lease?.replace(10_100)).toBe(10_101);
    expect(ports.leaseOf(10_100)).toBeUndefined();
    await expect(lease?.replace(10_101)).resolves.toBe(10_100);
    await ports.lease(job('b'), 1);
    await expect(lease?.replace(10_100)).rejects.toMatchObject({
      code: 'no_port_available',
      message: expect.stringContaining('port 10100 is held'),
    });
    expect(ports.view()).toMatchObject({ leased: [{ jobId: 'b' }], taken: [{ port: 10_100 }] });
  });

  it('sees a listener of anybody with a trial bind', async () => {
    const stranger = createServer();
    await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
    const { port } = stranger.address() as AddressInfo;
    const ports = new PortPool({ range: { first: port, last: port }, log: silentLogger });
    expect(await ports.lease(job('a'), 1)).toBeUndefined();
    expect(ports.view().taken).toMatchObject([{ port }]);
    await new Promise((resolve) => stranger.close(resolve));
    expect((await ports.lease(job('a'), 1))?.ports).toEqual([port]);
  });
});
