import { expect, it } from '@jest/globals';
import type { RestorePointRecord } from '../src/index.js';
import { describeOnEach } from './databases.js';
import { sketch, START, type PointSketch } from './manifests.js';
import { GIB, Stage } from './stage.js';

const CONTEXT = 'ctx-pg-20261101-000000';
const ids = (points: readonly RestorePointRecord[]) => points.map(({ id }) => id);

/** A repository with the points `p0`, `p1`, … of one VM. */
async function withPoints(...points: PointSketch[]): Promise<{ stage: Stage; repositoryId: string }> {
  const stage = await Stage.open();
  const repositoryId = await stage.addRepository();
  for (const [n, point] of points.entries())
    await stage.catalog.restorePoints.importPoint(sketch(repositoryId, n, point));
  return { stage, repositoryId };
}

describeOnEach('a chain', () => {
  it('is all that any disk of a point builds on, and nothing beside it', async () => {
    // The second disk was read in full at p2; p4 starts anew.
    const { stage, repositoryId } = await withPoints(
      { parents: [undefined, undefined] },
      { parents: ['p0', 'p0'] },
      { parents: ['p1', undefined] },
      { parents: ['p2', 'p2'] },
      { parents: [undefined, undefined] },
    );
    await using _ = stage;
    const { restorePoints } = stage.catalog;
    expect(ids(await restorePoints.chain('p3'))).toEqual(['p3', 'p2', 'p1', 'p0']);
    expect(ids(await restorePoints.chain('p0'))).toEqual(['p0']);
    expect(ids(await restorePoints.chain('p4'))).toEqual(['p4']);
    expect(ids(await restorePoints.children('p1'))).toEqual(['p2']);
    expect(ids(await restorePoints.children('p3'))).toEqual([]);
    expect(ids(await restorePoints.descendants('p0'))).toEqual(['p3', 'p2', 'p1']);
    expect(ids(await restorePoints.descendants('p4'))).toEqual([]);
    expect(ids(await restorePoints.ofContext(CONTEXT, repositoryId))).toEqual(['p4', 'p3', 'p2', 'p1', 'p0']);
    expect(await restorePoints.contextsIn(repositoryId)).toEqual([CONTEXT]);
    expect(await restorePoints.contextsIn('none')).toEqual([]);
    for (const call of [() => restorePoints.chain('none'), () => restorePoints.descendants('none')])
      await expect(call()).rejects.toMatchObject({ code: 'not_found' });
  });
});

describeOnEach('doubt about a point', () => {
  it('keeps its first reason, hides nothing from planning, and ends with a full verification that passes', async () => {
    const { stage, repositoryId } = await withPoints({}, { parents: ['p0'] });
    await using _ = stage;
    const { restorePoints } = stage.catalog;
    expect(await restorePoints.markSuspect(['p0', 'p1', 'none'], 'a block was wrong')).toBe(2);
    expect(await restorePoints.markSuspect(['p1'], 'later')).toBe(0);
    expect(await restorePoints.latest(CONTEXT, repositoryId)).toMatchObject({
      id: 'p1',
      suspect: true,
      suspectReason: 'a block was wrong',
    });
    const at = new Date(START);
    await restorePoints.recordVerification('p1', { outcome: 'passed', full: false, at });
    expect(await restorePoints.get('p1')).toMatchObject({
      suspect: true,
      verification: 'passed',
      verifiedFull: false,
      fullyVerifiedAt: undefined,
    });
    expect(await restorePoints.recordVerification('p1', { outcome: 'passed', full: true, at })).toMatchObject(
      {
        suspect: false,
        suspectReason: undefined,
        verifiedAt: at,
        fullyVerifiedAt: at,
      },
    );
    expect(await restorePoints.get('p0')).toMatchObject({ suspect: true });
    await expect(restorePoints.markSuspect(['p0'], ' ')).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('begins with a verification that fails, of either kind', async () => {
    const { stage } = await withPoints({});
    await using _ = stage;
    const at = new Date();
    const detail = 'disk 2000 at offset 65536 is other than it was';
    for (const full of [false, true]) {
      const failed = await stage.catalog.restorePoints.recordVerification('p0', {
        ...{ outcome: 'failed', full, at, detail },
      });
      expect(failed).toMatchObject({
        suspect: true,
        suspectReason: detail,
        verification: 'failed',
        verificationDetail: detail,
      });
    }
    await expect(
      stage.catalog.restorePoints.recordVerification('none', { outcome: 'passed', full: true, at }),
    ).rejects.toMatchObject({ code: 'not_found' });
  });

  it('is looked for where nobody has looked for longest, quick looks not counting', async () => {
    const { stage } = await withPoints({}, {}, {}, {});
    await using _ = stage;
    const { restorePoints } = stage.catalog;
    const verified = (id: string, full: boolean, day: number) =>
      restorePoints.recordVerification(id, { outcome: 'passed', full, at: new Date(START + day) });
    await verified('p0', true, 20);
    await verified('p1', true, 10);
    await verified('p1', false, 30);
    await verified('p2', false, 1);
    await restorePoints.beginRemoval('p3');
    expect(ids(await restorePoints.oldestVerified(10))).toEqual(['p2', 'p1', 'p0']);
    expect(ids(await restorePoints.oldestVerified(1))).toEqual(['p2']);
  });
});

describeOnEach('removing a point', () => {
  it('takes it out of the chain in one step, its children having taken its data over', async () => {
    const { stage, repositoryId } = await withPoints({}, { parents: ['p0'] }, { parents: ['p1'] });
    await using _ = stage;
    const { restorePoints } = stage.catalog;
    expect(await restorePoints.beginRemoval('p0')).toMatchObject({ id: 'p0', state: 'removing' });
    // A restart does it again.
    await restorePoints.beginRemoval('p0');
    await stage.reopen();
    const after = stage.catalog.restorePoints;
    expect(ids(await after.removing())).toEqual(['p0']);
    const disk = { diskNumber: 0, backupType: 'full', storedBytes: 3 * GIB } as const;
    for (let time = 0; time < 2; time++)
      await after.concludeRemoval('p0', [{ pointId: 'p1', type: 'full', disks: [disk] }]);
    expect(await after.find('p0')).toBeUndefined();
    expect(await after.get('p1')).toMatchObject({
      type: 'full',
      disks: [{ backupType: 'full', parentPointId: undefined, storedBytes: 3 * GIB }],
    });
    expect(ids(await after.chain('p2'))).toEqual(['p2', 'p1']);
    expect((await stage.catalog.repositories.get(repositoryId)).backupCount).toBe(2);
  });

  it('is refused while something builds on it, and nothing of it is done', async () => {
    const { stage } = await withPoints({}, { parents: ['p0'] }, { parents: ['p0'] });
    await using _ = stage;
    const { restorePoints } = stage.catalog;
    const child = (pointId: string, parentPointId?: string) => ({
      pointId,
      type: parentPointId === undefined ? ('full' as const) : ('incremental' as const),
      disks: [
        {
          diskNumber: 0,
          storedBytes: 7,
          backupType: parentPointId === undefined ? ('full' as const) : ('incremental' as const),
          ...(parentPointId === undefined ? {} : { parentPointId }),
        },
      ],
    });
    await expect(restorePoints.concludeRemoval('p0', [child('p1'), child('p2')])).rejects.toMatchObject({
      code: 'conflict',
      context: { state: 'sealed' },
    });
    await restorePoints.beginRemoval('p0');
    await expect(restorePoints.concludeRemoval('p0', [child('p1')])).rejects.toMatchObject({
      code: 'conflict',
      context: { child_point_id: 'p2' },
    });
    for (const [children, code] of [
      [[child('p1'), child('p2', 'nowhere')], 'conflict'],
      [[child('p1'), child('none')], 'not_found'],
      [[{ ...child('p1'), disks: [{ ...child('p1').disks[0]!, diskNumber: 9 }] }], 'not_found'],
      [
        [{ ...child('p1'), disks: [{ diskNumber: 0, storedBytes: 1, backupType: 'incremental' as const }] }],
        'invalid_argument',
      ],
    ] as const)
      await expect(restorePoints.concludeRemoval('p0', children)).rejects.toMatchObject({ code });
    for (const id of ['p1', 'p2'])
      expect(await restorePoints.get(id)).toMatchObject({
        type: 'incremental',
        disks: [{ parentPointId: 'p0', storedBytes: GIB }],
      });
    // The second moves onto the first: the repository decides how chains go on, the catalogue follows.
    await restorePoints.concludeRemoval('p0', [child('p1'), child('p2', 'p1')]);
    expect(ids(await restorePoints.chain('p2'))).toEqual(['p2', 'p1']);
  });

  it('hides the point from planning, can be called off, and is refused for a held point', async () => {
    const { stage, repositoryId } = await withPoints({}, { parents: ['p0'] });
    await using _ = stage;
    const { restorePoints } = stage.catalog;
    await restorePoints.beginRemoval('p1');
    expect(await restorePoints.latest(CONTEXT, repositoryId)).toMatchObject({ id: 'p0' });
    await expect(restorePoints.hold('p1', 'too late')).rejects.toMatchObject({ code: 'conflict' });
    expect(await restorePoints.cancelRemoval('p1')).toMatchObject({ state: 'sealed' });
    expect(await restorePoints.latest(CONTEXT, repositoryId)).toMatchObject({ id: 'p1' });

    const held = await restorePoints.hold('p1', 'audit 2026');
    expect(held).toMatchObject({ holdReason: 'audit 2026', heldAt: expect.any(Date) });
    expect(await restorePoints.hold('p1', 'audit 2027')).toMatchObject({
      holdReason: 'audit 2027',
      heldAt: held.heldAt,
    });
    await expect(restorePoints.beginRemoval('p1')).rejects.toMatchObject({
      code: 'restore_point_held',
      message: expect.stringContaining('audit 2027'),
    });
    for (let time = 0; time < 2; time++)
      expect(await restorePoints.release('p1')).toMatchObject({ heldAt: undefined, holdReason: undefined });
    await restorePoints.beginRemoval('p1');
    await expect(restorePoints.hold('p0', '')).rejects.toMatchObject({ code: 'invalid_argument' });
    for (const call of [
      () => restorePoints.beginRemoval('none'),
      () => restorePoints.cancelRemoval('none'),
      () => restorePoints.hold('none', 'x'),
      () => restorePoints.release('none'),
    ])
      await expect(call()).rejects.toMatchObject({ code: 'not_found' });
  });
});
