import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { RestorePointRecord } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import { QemuImg } from '@sendense/qemu';
import { silentLogger as log } from '@sendense/runtime';
import { requires } from '@sendense/runtime/testing';
import { removePoint } from '../src/chains/remove-point.js';
import { pruneHandler, pruneRequest, type PrunePorts } from '../src/retention/prune-task.js';
import { removalCosts } from '../src/retention/removal-costs.js';
import { planRetention } from '../src/retention/retention-plan.js';
import { Retention } from '../src/retention/retention.js';
import type { TaskContext, TaskRequest } from '../src/tasks/types.js';
import { ChainStage, type ChainVm } from './stage/chain-stage.js';

const MIB = 2 ** 20;
const KEEP_TWO = { keepLast: 2, daily: 0, weekly: 0, monthly: 0, yearly: 0 };

requires(
  describe,
  'qemu-img',
  'qemu-io',
)('retention', () => {
  let stage: ChainStage;
  let vm: ChainVm;
  let points: RestorePointRecord[];

  beforeEach(async () => {
    stage = await ChainStage.create();
    vm = stage.vm('pgtest1', [2 * MIB]);
    points = [];
    for (let index = 0; index < 5; index++) {
      vm.disks[0]!.fill(index * 128 * 1024, 128 * 1024, `point ${index}`);
      points.push(await vm.seal(index === 0 ? 'full' : 'incremental'));
    }
  });
  afterEach(() => stage[Symbol.asyncDispose]());

  const chain = () => ({ contextId: vm.contextId, repositoryId: stage.repository.id });
  const setPolicy = () => stage.catalog.retention.set({ contextId: vm.contextId }, KEEP_TWO);
  const plan = () => planRetention(stage.catalog, vm.contextId, stage.repository.id);
  const idsLeft = async () =>
    (await stage.catalog.restorePoints.ofContext(vm.contextId, stage.repository.id))
      .map(({ id }) => id)
      .toReversed();
  const idOf = (index: number) => points[index]!.id;

  async function prune(more: Partial<PrunePorts> = {}, o: Partial<TaskContext> = {}) {
    const { catalog, repositories } = stage;
    const task = await catalog.tasks.create(pruneRequest(chain(), 'test'));
    const nothing = () => undefined;
    return pruneHandler({ catalog, repositories, images: new QemuImg(), ...more }).run(task, {
      ...{ signal: new AbortController().signal, log },
      ...{ progress: nothing, soFar: nothing, commit: nothing },
      ...o,
    });
  }

  async function isWhole(point: RestorePointRecord): Promise<boolean> {
    const image = stage.at(point.disks[0]!.imagePath);
    const { identical } = await stage.images.compare(image, stage.raw(vm, 0, point.id), {
      ...{ formatA: 'qcow2', formatB: 'raw' },
    });
    return identical;
  }

  it('keeps everything while there is no policy', async () => {
    expect(await plan()).toMatchObject({ effective: { source: 'none' }, toRemove: [] });
    expect(await prune()).toEqual({ removed: [], failed: [], kept: points.map(({ id }) => id).toReversed() });
  });

  it('removes what the policy lets go, the oldest first; what stays is what it was', async () => {
    await setPolicy();
    const order: string[] = [];
    const progress: [number, number][] = [];
    const result = await prune(
      { remove: (id, ports, work) => (order.push(id), removePoint(id, ports, work)) },
      { progress: (done, total) => void progress.push([done, total]) },
    );
    expect(order).toEqual([idOf(0), idOf(1), idOf(2)]);
    expect(result).toEqual({ removed: order, failed: [], kept: [idOf(4), idOf(3)] });
    expect(await idsLeft()).toEqual([idOf(3), idOf(4)]);
    for (const index of [3, 4]) expect(await isWhole(points[index]!)).toBe(true);
    const [done, total] = progress.at(-1)!;
    expect(done).toBe(total);
    expect(progress.map(([at]) => at)).toEqual(progress.map(([at]) => at).toSorted((a, b) => a - b));
    expect(await prune()).toMatchObject({ removed: [] });
  });

  it('never removes a point that is held', async () => {
    await setPolicy();
    await stage.catalog.restorePoints.hold(idOf(1), 'for the auditor');
    expect(await prune()).toMatchObject({ removed: [idOf(0), idOf(2)], failed: [] });
    expect(await idsLeft()).toEqual([idOf(1), idOf(3), idOf(4)]);
  });

  it('goes on when a point cannot be removed, and says which and why', async () => {
    await setPolicy();
    const remove: PrunePorts['remove'] = async (id, ports, work) => {
      if (id === idOf(0)) throw new SendenseError('repository_full', 'no room for it');
      if (id === idOf(1)) throw new SendenseError('restore_point_held', 'held since');
      return removePoint(id, ports, work);
    };
    expect(await prune({ remove })).toEqual({
      removed: [idOf(2)],
      failed: [{ restore_point_id: idOf(0), code: 'repository_full', detail: 'no room for it' }],
      kept: [idOf(4), idOf(3), idOf(1)],
    });
  });

  it('stops between two points when it is cancelled, and keeps what it has done', async () => {
    await setPolicy();
    const cancel = new AbortController();
    const sofar: object[] = [];
    const remove: PrunePorts['remove'] = async (id, ports, work) => {
      const removed = await removePoint(id, ports, work);
      cancel.abort(new SendenseError('cancelled', 'enough'));
      return removed;
    };
    await expect(
      prune({ remove }, { signal: cancel.signal, soFar: (result) => void sofar.push(result) }),
    ).rejects.toMatchObject({ code: 'cancelled' });
    expect(sofar).toEqual([expect.objectContaining({ removed: [idOf(0)] })]);
    expect(await idsLeft()).toEqual([1, 2, 3, 4].map(idOf));
    expect(await prune()).toMatchObject({ removed: [idOf(1), idOf(2)] });
  });

  it('finishes, when it runs again, what the end of the hub has interrupted', async () => {
    await setPolicy();
    const stop = new AbortController();
    const remove: PrunePorts['remove'] = (id, ports, work) =>
      removePoint(id, ports, {
        ...work,
        onStep: (step) => {
          if (step === 'files') stop.abort(new SendenseError('shutting_down', 'the hub stops'));
        },
      });
    await expect(prune({ remove }, { signal: stop.signal })).rejects.toMatchObject({ code: 'shutting_down' });
    expect((await stage.catalog.restorePoints.get(idOf(0))).state).toBe('removing');
    expect(
      pruneHandler({ catalog: stage.catalog, repositories: stage.repositories, images: new QemuImg() })
        .resume,
    ).toBe(true);
    expect(await prune()).toMatchObject({ removed: [idOf(0), idOf(1), idOf(2)], failed: [] });
    for (const index of [3, 4]) expect(await isWhole(points[index]!)).toBe(true);
  });

  it('removes what nothing that stays is read through from the newest backwards, which merges nothing', async () => {
    points.push(await vm.seal('full'), await vm.seal('incremental'));
    await stage.catalog.restorePoints.markSuspect([idOf(2)], 'a flipped bit');
    await setPolicy();
    const { toRemove, blocked } = await plan();
    expect([toRemove.map(({ id }) => id), blocked]).toEqual([[4, 3, 2, 1, 0].map(idOf), []]);
    const all = await stage.catalog.restorePoints.ofContext(vm.contextId, stage.repository.id);
    const order = toRemove.map(({ id }) => id);
    expect(removalCosts(all, order, 0).every(({ methods }) => methods.join() === 'drop')).toBe(true);
    expect(await prune()).toEqual({ removed: order, failed: [], kept: [idOf(6), idOf(5)] });
    for (const index of [5, 6]) expect(await isWhole(points[index]!)).toBe(true);
  });

  it('foresees what cannot be merged because it is in doubt, and is not started for that alone', async () => {
    await setPolicy();
    await stage.catalog.restorePoints.markSuspect([idOf(2)], 'a flipped bit\nand another');
    const { toRemove, blocked } = await plan();
    expect(toRemove.map(({ id }) => id)).toEqual([idOf(0)]);
    expect(blocked.map(({ point, reason }) => [point.id, reason])).toEqual([
      [idOf(1), expect.stringContaining(`${idOf(2)}, which stands on it, is suspect`)],
      [idOf(2), expect.stringContaining('it is suspect')],
    ]);
    expect(await prune()).toMatchObject({
      removed: [idOf(0)],
      failed: [1, 2].map((index) => ({ restore_point_id: idOf(index), code: 'restore_point_suspect' })),
    });
    const started: TaskRequest[] = [];
    const tasks = { start: (request: TaskRequest) => (started.push(request), Promise.reject(new Error())) };
    await new Retention({ catalog: stage.catalog, tasks, log }).afterBackup(
      vm.contextId,
      stage.repository.id,
    );
    expect(started).toEqual([]);
  });

  it('previews what each removal costs, those before it done', async () => {
    await setPolicy();
    const { points: decided, toRemove } = await plan();
    const all = decided.map(({ point }) => point);
    const costs = removalCosts(
      all,
      toRemove.map(({ id }) => id),
      2 ** 40,
    );
    expect(costs.map(({ pointId, methods, fits }) => [pointId, methods.length, fits])).toEqual(
      [0, 1, 2].map((index) => [idOf(index), 1, true]),
    );
    const child = points[1]!.disks[0]!.storedBytes;
    const own = points[0]!.disks[0]!.storedBytes;
    expect(costs[0]!.bytesToCopy).toBe(Math.min(own, child));
    expect(removalCosts(all, [idOf(4)], 0)).toEqual([
      {
        ...{ pointId: idOf(4), methods: ['drop'], bytesToCopy: 0, fits: true },
        bytesFreed: points[4]!.disks[0]!.storedBytes,
      },
    ]);
    expect(removalCosts(all, [idOf(0)], 0)).toMatchObject([{ fits: false }]);
  });

  it('is applied after a backup when it would remove something, once', async () => {
    const started: TaskRequest[] = [];
    const tasks = {
      start: async (request: TaskRequest) => {
        started.push(request);
        return stage.catalog.tasks.create(request);
      },
    };
    const retention = new Retention({ catalog: stage.catalog, tasks, log });
    const after = () => retention.afterBackup(vm.contextId, stage.repository.id);
    await after();
    expect(started).toEqual([]);
    await setPolicy();
    await after();
    await after();
    expect(started).toEqual([
      expect.objectContaining({
        kind: 'prune',
        requestedBy: 'retention',
        subject: { type: 'vm', id: vm.contextId },
      }),
    ]);
    await retention.afterBackup('ctx-nothing', 'repo-nothing');
    expect(started).toHaveLength(1);
  });
});
