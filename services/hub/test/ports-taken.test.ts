import { createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { requires } from '@sendense/runtime/testing';
import { ProtectedVm } from './stage/protected-vm.js';
import type { Spine, SpineOptions } from './stage/spine.js';

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('a backup whose ports others hold', () => {
  let world: ProtectedVm;
  let spine: Spine;
  let contextId: string;

  async function setUp(options: SpineOptions = {}): Promise<void> {
    spine = await world.setUp(options);
    ({ contextId } = world);
  }

  beforeEach(async () => {
    world = await ProtectedVm.create();
  });

  afterEach(async () => {
    await world[Symbol.asyncDispose]();
  });

  it('uses another port when a stranger holds one', async () => {
    await setUp();
    const stranger = await listen(spine.ports.first);
    const record = await spine.backUp(contextId);
    expect(record.disks).toMatchObject([
      { nbdPort: spine.ports.first + 1 },
      { nbdPort: spine.ports.first + 2 },
    ]);
    expect(spine.runs.leases().taken).toMatchObject([{ port: spine.ports.first }]);
    await new Promise((resolve) => stranger.close(resolve));
    expect((await spine.backUp(contextId)).disks).toMatchObject([{ nbdPort: spine.ports.first }, {}]);
  });

  it('waits when strangers hold too many ports, and says what for', async () => {
    const probe = await listen(0);
    const { port } = probe.address() as { port: number };
    await setUp({ ports: { first: port, last: port + 1 } });
    const record = await spine.start(contextId);
    expect(record.state).toBe('queued');
    expect(spine.runs.queue()).toMatchObject([{ jobId: record.id, waitingFor: '2 NBD ports' }]);
    await new Promise((resolve) => probe.close(resolve));
    expect(await spine.end(record.id)).toMatchObject({ state: 'completed' });
  });

  it('refuses a VM with more disks than there are ports', async () => {
    await setUp({ ports: { first: 31_999, last: 31_999 } });
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'no_port_available',
      message: expect.stringMatching(/2 disks, .*the hub has 1: widen SENDENSE_NBD_PORTS/),
    });
    expect((await spine.catalog.backups.list()).items).toEqual([]);
  });
});

function listen(port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}
