import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { verifyBlockHashesFile } from '@sendense/nbd';
import { QemuImg } from '@sendense/qemu';
import { eventually, requires } from '@sendense/runtime/testing';
import { parseManifest } from '../src/runs/manifest.js';
import type { BackupEvent } from '../src/runs/index.js';
import { FakeNode } from './stage/fake-node.js';
import type { FakeVm } from './stage/fake-vm.js';
import { NOTHING_LEFT, PASSWORD, Spine } from './stage/spine.js';

const MIB = 2 ** 20;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('a backup', () => {
  let node: FakeNode;
  let spine: Spine;
  let vm: FakeVm;
  let contextId: string;

  beforeEach(async () => {
    node = await FakeNode.start();
    spine = await Spine.start(node);
    vm = node.addVm('pgtest1', [
      { key: 2000, sizeBytes: 3 * MIB + 512 },
      { key: 2001, sizeBytes: 2 * MIB },
    ]);
    contextId = await spine.protect(vm);
  });

  afterEach(async () => {
    await spine[Symbol.asyncDispose]();
    await node[Symbol.asyncDispose]();
  });

  /** Whether an image of the repository is the disk as it is now. */
  async function isDisk(imagePath: string, key: number): Promise<boolean> {
    const { path } = await spine.repository();
    const raw = join(spine.folder, 'source.raw');
    await writeFile(raw, vm.disk(key).content);
    const formats = { formatA: 'qcow2', formatB: 'raw' } as const;
    return (await new QemuImg({}).compare(join(path, imagePath), raw, formats)).identical;
  }

  it('answers with every disk’s live target under its final name', async () => {
    const hold = node.hold('accepted');
    const record = await spine.start(contextId);
    const { path } = await spine.repository();
    const stamp = record.id.replace('backup-pgtest1-', '');
    expect(record.disks).toMatchObject([
      {
        diskId: `${contextId}-disk0`,
        diskKey: 2000,
        status: 'qemu_started',
        backupType: 'full',
        reason: 'requested',
        nbdPort: spine.ports.first,
        nbdExportName: 'pgtest1-disk0',
        qcow2Path: `${path}/${contextId}/disk-0/backup-pgtest1-disk0-${stamp}.qcow2`,
      },
      { diskKey: 2001, nbdPort: spine.ports.first + 1, nbdExportName: 'pgtest1-disk1' },
    ]);
    for (const disk of record.disks)
      expect(process.kill(disk.status === 'qemu_started' ? disk.qemuNbdPid : -1, 0)).toBe(true);
    expect(await spine.files()).toEqual([
      expect.stringMatching(/disk0-.*\.qcow2\.partial$/),
      expect.stringMatching(/disk1-.*\.qcow2\.partial$/),
    ]);
    hold.release();
    expect(await spine.end(record.id)).toMatchObject({ state: 'completed' });
  });

  it('becomes a restore point whose disks are identical, with hashes and a manifest, and leaves nothing else', async () => {
    const record = await spine.backUp(contextId);
    expect(record).toMatchObject({ state: 'completed', warnings: [] });
    const point = await spine.catalog.restorePoints.get(record.id);
    const { path } = await spine.repository();
    for (const disk of point.disks) {
      expect(await isDisk(disk.imagePath, disk.diskKey)).toBe(true);
      const summary = await verifyBlockHashesFile(join(path, disk.hashesPath!));
      expect(summary.sizeBytes).toBe(vm.disk(disk.diskKey).sizeBytes);
      expect(disk.changeId).toBe(`52 aa/${vm.disk(disk.diskKey).changeNumber}`);
    }
    const manifest = parseManifest(await readFile(join(path, point.manifestPath), 'utf8'), 'it');
    expect(manifest).toMatchObject({
      schema: 'sendense-manifest/1',
      engine: 'test 0 (abc)',
      backup_id: record.id,
      context_id: contextId,
      vm: { name: 'pgtest1', instance_uuid: vm.instanceUuid },
      vcenter: 'vcenter.example',
      change_tracking: 'already_enabled',
      disks: point.disks.map((disk) => ({
        disk_key: disk.diskKey,
        image: disk.imagePath,
        change_id: disk.changeId,
        parent: null,
        extent_source: 'allocated_areas',
      })),
    });
    expect(vm.snapshotsCreated).toBe(1);
    expect(node.forgotten).toEqual([record.id]);
    expect(await spine.files()).toHaveLength(5);
    expect(await spine.leftovers(node)).toEqual(NOTHING_LEFT);
    expect([...node.passwords]).toEqual([PASSWORD]);
    expect(JSON.stringify([record, manifest])).not.toContain(PASSWORD);
  });

  it('shows its events in order, live and afterwards', async () => {
    const hold = node.hold('snapshot');
    const { id } = await spine.start(contextId);
    const live: BackupEvent[] = [];
    const following = (async () => {
      for await (const event of spine.runs.events(id, 0)) live.push(event);
    })();
    await hold.reached;
    hold.release();
    await following;
    const brief = (events: readonly BackupEvent[]) =>
      events
        .filter(({ type }) => type !== 'progress')
        .map((event) => ('state' in event ? event.state : event.type));
    expect(brief(live).filter((name) => name !== 'disk')).toEqual([
      'queued',
      'preparing',
      'running',
      'snapshot_created',
      'snapshot_removed',
      'sealing',
      'completed',
    ]);
    expect(live.map(({ sequence }) => sequence)).toEqual(
      live.map(({ sequence }) => sequence).toSorted((a, b) => a - b),
    );
    const late: BackupEvent[] = [];
    for await (const event of spine.runs.events(id, 3)) late.push(event);
    expect(brief(late)).toEqual(brief(live.filter(({ sequence }) => sequence > 3)));
    const progress = late.find(({ type }) => type === 'progress');
    expect(progress).toMatchObject({ progress: { bytesDone: 5 * MIB + 512, bytesTotal: 5 * MIB + 512 } });
    await expect(
      spine.runs.events('backup-of-nothing', 0)[Symbol.asyncIterator]().next(),
    ).rejects.toMatchObject({
      code: 'job_not_found',
    });
  });

  it('lets its node and no other reach its ports, and only while it runs', async () => {
    const hold = node.hold('copying');
    const { id } = await spine.start(contextId);
    await hold.reached;
    const port = spine.ports.first;
    const ask = (change: object) =>
      spine.runs.mayOpen({ nodeName: 'berlin', jobId: id, host: '127.0.0.1', port, ...change });
    expect(ask({})).toEqual({ allowed: true, jobId: id });
    expect(ask({ jobId: undefined })).toEqual({ allowed: true, jobId: id });
    for (const wrong of [{ nodeName: 'paris' }, { jobId: 'other' }, { host: '10.0.0.1' }, { port: port + 2 }])
      expect(ask(wrong)).toMatchObject({ allowed: false });
    expect(spine.runs.mayOpenLane('berlin', id)).toBe(true);
    expect(spine.runs.mayOpenLane('paris', id)).toBe(false);
    hold.release();
    await spine.end(id);
    expect(ask({})).toMatchObject({ allowed: false });
    expect(spine.runs.mayOpenLane('berlin', id)).toBe(false);
  });

  it('is refused while another one of the same VM runs', async () => {
    const hold = node.hold('copying');
    const { id } = await spine.start(contextId);
    await hold.reached;
    await expect(spine.start(contextId)).rejects.toMatchObject({
      code: 'backup_already_running',
      context: { backup_id: id },
    });
    hold.release();
    expect(await spine.end(id)).toMatchObject({ state: 'completed' });
    expect(await spine.backUp(contextId)).toMatchObject({ state: 'completed' });
  });

  it('looks at the disks anew: a grown, a new and a vanished disk', async () => {
    await spine.backUp(contextId);
    vm.disks = [vm.disk(2000), ...node.addVm('donor', [{ key: 2016, sizeBytes: MIB }]).disks];
    const record = await spine.backUp(contextId);
    expect(record).toMatchObject({
      state: 'completed',
      disks: [
        { diskNumber: 0, diskKey: 2000 },
        { diskNumber: 2, diskKey: 2016 },
      ],
    });
  });

  it('gets the ports for disks that nobody knew of when it began', async () => {
    const [third] = node.addVm('donor', [{ key: 2016, sizeBytes: MIB }]).disks;
    vm.disks = [...vm.disks, third!];
    const record = await spine.backUp(contextId);
    expect(record).toMatchObject({ state: 'completed', disks: [{}, {}, { diskNumber: 2, diskKey: 2016 }] });
    expect(await spine.leftovers(node)).toEqual(NOTHING_LEFT);
  });

  it('says what it could not do as asked', async () => {
    vm.disks[1] = node
      .addVm('x', [{ key: 2001, sizeBytes: MIB, unsupportedReason: 'independent' }])
      .disk(2001);
    Object.assign(vm, { quiesces: false, foreignSnapshots: 2, changeTracking: 'snapshots_exist' });
    const record = await spine.backUp(contextId, { quiesce: true });
    expect(record.state).toBe('completed');
    expect(record.warnings.map(({ code }) => code)).toEqual([
      'disk_skipped',
      'change_tracking_off',
      'not_quiesced',
      'foreign_snapshots',
    ]);
    expect(record.snapshot).toMatchObject({ quiesced: false, quiesceNote: 'VMware Tools are not running' });
    expect(record.disks.map(({ status }) => status)).toEqual(['completed', 'skipped']);
    const [disk] = (await spine.catalog.restorePoints.get(record.id)).disks;
    expect(disk?.changeId).toBeUndefined();
  });

  it('writes an incremental as an overlay on the last point, and reads in full what has none', async () => {
    const first = await spine.backUp(contextId);
    vm.disk(2000).fill(MIB, 4096, 'changed');
    const second = await spine.backUp(contextId, { type: 'incremental' });
    expect(second).toMatchObject({
      state: 'completed',
      disks: [
        { backupType: 'incremental', reason: 'changed_blocks', parentPointId: first.id },
        { backupType: 'incremental' },
      ],
    });
    const { path } = await spine.repository();
    const [point] = (await spine.catalog.restorePoints.get(second.id)).disks;
    expect(await isDisk(point!.imagePath, 2000)).toBe(true);
    const chain = await new QemuImg({}).backingChain(join(path, point!.imagePath));
    expect(chain[0]?.backingFile).toMatch(/^backup-pgtest1-disk0-.*\.qcow2$/);
    expect(node.started[1]?.disks[0]).toMatchObject({ targetHasBacking: true, previousChangeId: '52 aa/2' });
    const plan = await spine.runs.plan(await spine.request(contextId, { type: 'incremental' }));
    expect(plan).toMatchObject({ ports: 2, disks: [{ type: 'incremental' }, { type: 'incremental' }] });
  });

  it('plans without doing anything', async () => {
    const plan = await spine.runs.plan(await spine.request(contextId));
    expect(plan).toMatchObject({
      vmName: 'pgtest1',
      ports: 2,
      expectedBytes: 5 * MIB + 512,
      disks: [
        { key: 2000, type: 'full', reason: 'requested' },
        { key: 2001, type: 'full' },
      ],
    });
    expect(plan.availableBytes).toBeGreaterThan(0);
    expect(await spine.files()).toEqual([]);
    expect((await spine.catalog.backups.list()).items).toEqual([]);
  });

  it('takes hostile names as they are, and keeps them out of paths', async () => {
    const name = `../../evil "x" '$(id)' \n 🙂 ${'long '.repeat(60)}`;
    const id = await spine.protect(node.addVm(name, [{ key: 2000, sizeBytes: MIB }]));
    const record = await spine.backUp(id);
    expect(record).toMatchObject({ state: 'completed', vmName: name });
    for (const file of await spine.files()) expect(file).toMatch(/^[A-Za-z0-9._/-]+$/);
  });

  it('survives losing the node’s connection in the middle', async () => {
    const hold = node.hold('copying');
    const { id } = await spine.start(contextId);
    await hold.reached;
    node.cut();
    await eventually('the hub noticed', () => spine.runs.running().length === 1);
    hold.release();
    await eventually('the job went on without the hub', () => node.jobs.get(id)?.state === 'finished');
    await node.connect();
    expect(await spine.end(id)).toMatchObject({ state: 'completed' });
    expect(await spine.leftovers(node)).toEqual(NOTHING_LEFT);
  });

  it('is good although its snapshot could not be removed, which is done later', async () => {
    node.failAt('removing', new SendenseError('snapshot_remove_failed', 'the disk is locked'));
    const record = await spine.backUp(contextId);
    expect(record.state).toBe('completed');
    expect(record.warnings.map(({ code }) => code)).toEqual(['snapshot_remove_failed']);
    expect(node.snapshotsLeft).toBe(1);
    node.failAt('removing', undefined);
    await eventually('the reaper removed it', () => node.snapshotsLeft === 0);
    await eventually('nothing is left', async () => (await spine.catalog.cleanups.list()).length === 0);
  });
});
