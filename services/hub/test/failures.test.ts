import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { requires } from '@sendense/runtime/testing';
import type { FakeNode } from './stage/fake-node.js';
import type { FakeVm } from './stage/fake-vm.js';
import { ProtectedVm } from './stage/protected-vm.js';
import type { Spine, SpineOptions } from './stage/spine.js';

const MIB = 2 ** 20;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('a backup that cannot be finished', () => {
  let world: ProtectedVm;
  let node: FakeNode;
  let spine: Spine;
  let vm: FakeVm;
  let contextId: string;

  async function setUp(options: SpineOptions = {}): Promise<void> {
    spine = await world.setUp(options);
    ({ contextId } = world);
  }

  beforeEach(async () => {
    world = await ProtectedVm.create();
    ({ node, vm } = world);
  });

  afterEach(async () => {
    await world[Symbol.asyncDispose]();
  });

  it('says that qemu-nbd is missing, and what to install', async () => {
    await setUp({ qemuNbd: '/nowhere/qemu-nbd' });
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'qemu_nbd_missing',
      message: expect.stringMatching(/^\/nowhere\/qemu-nbd cannot be started.*install.*qemu-utils/),
      context: { backup_id: expect.stringMatching(/^backup-pgtest1-/) },
    });
    await world.leavesNothing();
    const [record] = (await spine.catalog.backups.list()).items;
    expect(record).toMatchObject({ state: 'failed', error: { code: 'qemu_nbd_missing' } });
  });

  it('says why qemu-nbd died at once', async () => {
    await setUp({ qemuNbd: world.script('qemu-nbd', 'echo "cannot open display" >&2; exit 3') });
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'qemu_nbd_failed',
      message: expect.stringMatching(/qemu-nbd.*pgtest1-disk0.*exit code 3.*cannot open display/),
    });
    await world.leavesNothing();
  });

  it('fails with qemu-nbd’s last words when it dies in the middle', async () => {
    await setUp();
    const hold = node.hold('copying');
    const record = await spine.start(contextId);
    await hold.reached;
    const [, second] = record.disks;
    process.kill(second?.status === 'qemu_started' ? second.qemuNbdPid : -1, 'SIGKILL');
    const ended = await spine.end(record.id);
    expect(ended).toMatchObject({
      state: 'failed',
      error: {
        code: 'qemu_nbd_died',
        message: expect.stringMatching(/^qemu-nbd.*pgtest1-disk1.*SIGKILL.*journalctl.*try again/),
      },
    });
    expect(node.jobs.size).toBe(0);
    await world.leavesNothing();
    hold.release();
    await world.worksAgain();
  });

  it('says at once that the node is offline', async () => {
    await setUp();
    node.cut();
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'node_offline',
      message: expect.stringMatching(/^node berlin is offline: .*Check that sendense-node runs.*preflight/),
    });
    await node.connect();
    await world.leavesNothing();
  });

  it.each(['listVirtualMachines', 'runBackup'] as const)(
    'says that the node took its call and never answered: %s',
    async (call) => {
      await setUp({ nodeLimits: { vcenter: 2_000, begin: 2_000 } });
      node.silent.add(call);
      const ended = spine.start(contextId).then(({ id }) => spine.end(id));
      const failure = {
        code: 'timeout',
        message: expect.stringMatching(
          new RegExp(`^${call} on node berlin: no answer within 2 s\\. Look at the log`, 'i'),
        ),
      };
      // Before there is a backup, whoever asked for it hears of it; afterwards it has failed.
      if (call === 'runBackup') expect(await ended).toMatchObject({ state: 'failed', error: failure });
      else await expect(ended).rejects.toMatchObject(failure);
      await world.leavesNothing();
      node.silent.clear();
      await world.worksAgain();
    },
  );

  it('gives up a node that stays away, and cleans up there when it is back', async () => {
    await setUp();
    const hold = node.hold('copying');
    const { id } = await spine.start(contextId);
    await hold.reached;
    node.cut();
    expect(await spine.end(id)).toMatchObject({
      state: 'failed',
      error: {
        code: 'node_lost',
        message: expect.stringMatching(/^node berlin was out of reach for \d+ s.*Check its network/),
      },
    });
    expect(await spine.files()).toEqual([]);
    expect(node.snapshotsLeft).toBe(1);
    await node.connect();
    spine.runs.nodeConnected('berlin');
    await world.leavesNothing();
    hold.release();
    await world.worksAgain();
  });

  it('notices that a node came back without the job', async () => {
    await setUp();
    const hold = node.hold('copying');
    const { id } = await spine.start(contextId);
    await hold.reached;
    node.cut();
    node.failAt('removing', new SendenseError('snapshot_remove_failed', 'it died before'));
    node.loseJobs();
    await node.connect();
    expect(await spine.end(id)).toMatchObject({
      state: 'failed',
      error: {
        code: 'node_lost',
        message: expect.stringMatching(/^node berlin was started anew.*log.*start the backup again/),
      },
    });
    node.failAt('removing', undefined);
    await world.leavesNothing();
  });

  it('passes on what the node failed with', async () => {
    await setUp();
    node.failAt(
      'snapshot',
      new SendenseError('snapshot_create_failed', 'TooManySnapshotLevels: remove some'),
    );
    const { id } = await spine.start(contextId);
    expect(await spine.end(id)).toMatchObject({
      state: 'failed',
      error: { code: 'snapshot_create_failed', message: 'TooManySnapshotLevels: remove some' },
    });
    expect(node.forgotten).toEqual([id]);
    await world.leavesNothing();
  });

  it('passes on what the vCenter said, and names a VM that is gone', async () => {
    await setUp();
    node.inventoryError = new SendenseError('vcenter_login_failed', 'wrong password');
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'vcenter_login_failed',
      message: expect.stringMatching(/^wrong password\. .*sendense vcenter update vcenter-/),
    });
    node.inventoryError = undefined;
    node.vms.splice(0);
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'vm_not_found',
      message: expect.stringMatching(
        /^pgtest1 \(vm-1, .*no longer on vcenter\.example: was it deleted or moved/,
      ),
    });
    await world.leavesNothing();
  });

  it('has no disk to back up', async () => {
    await setUp();
    vm.disks = node.addVm('x', [{ key: 2000, sizeBytes: MIB, unsupportedReason: 'physical_rdm' }]).disks;
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'vm_has_no_disks',
      message: expect.stringMatching(
        /^pgtest1 has no disk that a VMware snapshot can hold: .*physical_rdm.*within the guest/,
      ),
    });
    await world.leavesNothing();
  });

  it('does not become a point when the image is damaged', async () => {
    await setUp({
      qemuImg: world.script(
        'qemu-img',
        'case "$1" in check) echo "ERROR cluster 5 refcount=0" >&2; exit 2;; esac; exec qemu-img "$@"',
      ),
    });
    const { id } = await spine.start(contextId);
    expect(await spine.end(id)).toMatchObject({
      state: 'failed',
      error: {
        code: 'image_check_failed',
        message: expect.stringMatching(/disk0.*ERROR cluster 5.*full backup/),
      },
    });
    await world.leavesNothing();
  });

  it('does not become a point when the hashes are damaged', async () => {
    await setUp();
    const hold = node.hold('hashes');
    const { id } = await spine.start(contextId);
    await hold.reached;
    writeFileSync(node.jobs.get(id)!.hashesPath(2000), 'not hashes');
    hold.release();
    expect(await spine.end(id)).toMatchObject({
      state: 'failed',
      error: { code: 'block_hashes_invalid', message: expect.stringMatching(/disk0.*cut off.*full backup/) },
    });
    await world.leavesNothing();
  });

  it('is not asked for credentials that were removed', async () => {
    await setUp();
    const [vcenter] = await spine.catalog.vcenters.list();
    await spine.catalog.vcenters.remove(vcenter!.id);
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'credentials_missing',
      message: expect.stringMatching(/^pgtest1 has no vCenter credentials any more: add its vCenter again/),
    });
    await world.leavesNothing();
  });

  it('goes on to its end when the hub is drained, and no other begins', async () => {
    await setUp();
    const hold = node.hold('copying');
    const { id } = await spine.start(contextId);
    await hold.reached;
    const drained = spine.runs.drain();
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'shutting_down',
      message: expect.stringMatching(/^the hub is stopping: start the backup again later$/),
    });
    hold.release();
    await drained;
    expect(await spine.catalog.backups.get(id)).toMatchObject({ state: 'completed' });
  });

  it('ends as failed when the hub is stopped in the middle', async () => {
    await setUp();
    const hold = node.hold('copying');
    const { id } = await spine.start(contextId);
    await hold.reached;
    await spine.runs[Symbol.asyncDispose]();
    expect(await spine.catalog.backups.get(id)).toMatchObject({
      state: 'failed',
      error: {
        code: 'shutting_down',
        message: expect.stringMatching(/^the hub was stopped .*start the backup again$/),
      },
    });
    await expect(spine.start(contextId)).rejects.toMatchObject({ code: 'shutting_down' });
    await world.leavesNothing();
  });
});
