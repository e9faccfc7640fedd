import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { requires } from '@sendense/runtime/testing';
import { IncrementalStage } from './stage/incremental-stage.js';
import { NOTHING_LEFT } from './stage/spine.js';

const MIB = 2 ** 20;
const KIB = 2 ** 10;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('what changed block tracking says, when it is audited', () => {
  let stage: IncrementalStage;
  let spine: IncrementalStage['spine'];
  let vm: IncrementalStage['vm'];

  beforeEach(async () => {
    stage = await IncrementalStage.start();
    ({ spine, vm } = stage);
  });
  afterEach(() => stage[Symbol.asyncDispose]());

  it('is found true: the number of blocks that were looked at is kept', async () => {
    await stage.full();
    vm.disk(2000).fill(MIB, 64 * KIB, 'changed');
    const record = await stage.incremental();
    // 49 blocks, the last of one sector, of which one was changed; 32 blocks of which none was.
    expect(record.disks.map(({ auditedBlocks }) => auditedBlocks)).toEqual([48, 32]);
    expect((await stage.manifestOf(record.id)).disks.map((disk) => disk.audited_blocks)).toEqual([48, 32]);
  });

  it.each([
    ['in data', 64 * KIB],
    ['in what was a hole', 2 * MIB],
    ['in the last, partial block', 3 * MIB],
  ])('is found to be a lie %s: it fails, and the next is a full', async (_, offset) => {
    const first = await stage.full();
    const second = await stage.incremental();
    vm.disk(2000).fillUntold(offset, 512);
    const record = await stage.incremental();
    expect(record).toMatchObject({
      state: 'failed',
      error: {
        code: 'cbt_audit_failed',
        context: {
          disk_key: '2000',
          offset: String(offset),
          missed_blocks: '1',
          restore_point_id: second.id,
        },
      },
    });
    expect(await spine.leftovers(stage.node)).toEqual(NOTHING_LEFT);
    const points = await spine.catalog.restorePoints.ofContext(
      stage.contextId,
      (await spine.repository()).id,
    );
    expect(points.map(({ id, suspect }) => [id, suspect])).toEqual([
      [second.id, true],
      [first.id, false],
    ]);
    expect(points[0]?.suspectReason).toContain(`disk 2000 of pgtest1 changed at byte ${offset}`);
    expect((await spine.catalog.audit.list({ action: 'restore_point.suspect' })).items).toMatchObject([
      {
        subjectId: second.id,
        outcome: 'failed',
        detail: { reason: 'cbt_audit_failed', backup_id: record.id },
      },
    ]);

    expect(await stage.plannedReasons()).toEqual(['parent_suspect', 'parent_suspect']);
    const full = await stage.incremental();
    expect(full).toMatchObject({
      state: 'completed',
      disks: [{ backupType: 'full' }, { backupType: 'full' }],
    });
    expect(await stage.areDisks(full)).toEqual([true, true]);
    expect(await stage.incremental()).toMatchObject({
      state: 'completed',
      disks: [{ backupType: 'incremental' }, {}],
    });
  });

  it('is not asked about a disk that had to be read in full', async () => {
    await stage.full();
    vm.disk(2000).fillUntold(0, 512);
    vm.fullReasons.set(2000, 'change_id_stale');
    const record = await stage.incremental();
    expect(record.state).toBe('completed');
    expect(await stage.areDisks(record)).toEqual([true, true]);
  });

  it('is believed when the audit is turned off', async () => {
    await using unaudited = await IncrementalStage.start({ cbtAuditBlocks: 0 });
    await unaudited.full();
    const record = await unaudited.incremental();
    expect(record.disks[0]?.auditedBlocks).toBe(0);
    expect(unaudited.node.started.at(-1)?.disks.map(({ auditBlocks }) => auditBlocks)).toEqual([[], []]);
  });

  it('is not audited with hashes that cannot be read, and says so', async () => {
    const { id } = await stage.full();
    const { path } = await spine.repository();
    const [disk] = (await spine.catalog.restorePoints.get(id)).disks;
    await writeFile(join(path, disk!.hashesPath!), 'not hashes');
    const record = await stage.incremental();
    expect(record.state).toBe('completed');
    expect(record.warnings).toMatchObject([{ code: 'cbt_audit_skipped', context: { disk_key: '2000' } }]);
  });
});
