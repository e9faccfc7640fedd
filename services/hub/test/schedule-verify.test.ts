import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { silentLogger as log } from '@sendense/runtime';
import { requires } from '@sendense/runtime/testing';
import { ScheduledVerification } from '../src/chains/schedule-verify.js';
import type { TaskRequest } from '../src/tasks/types.js';
import { ChainStage } from './stage/chain-stage.js';

requires(
  describe,
  'qemu-img',
  'qemu-io',
)('scheduled verification', () => {
  it('verifies the longest unverified point, one at a time and in quiet time, at its rate', async () => {
    await using stage = await ChainStage.create();
    const vm = stage.vm('pgtest1', [1 << 20]);
    const [older, newer] = [await vm.seal('full'), await vm.seal('incremental')];
    const started: TaskRequest[] = [];
    const running: unknown[] = [];
    let now = new Date(2026, 10, 21, 12);
    await using schedule = new ScheduledVerification({
      schedule: { everyDays: 30, window: { fromMinute: 720, toMinute: 780 }, rateLimitBytesPerSecond: 1000 },
      ...{ catalog: stage.catalog, repositories: stage.repositories, log, now: () => now },
      runs: { running: () => running as never, queue: () => [] },
      tasks: {
        start: async (request) => {
          started.push(request);
          return stage.catalog.tasks.create(request);
        },
      },
    });
    running.push({});
    await schedule.look();
    expect(started).toEqual([]);
    running.pop();
    await schedule.look();
    await schedule.look();
    expect(started).toEqual([
      {
        ...{ kind: 'verify', subject: { type: 'restore_point', id: older.id }, requestedBy: 'schedule' },
        args: {
          context_id: vm.contextId,
          repository_id: stage.repository.id,
          quick: false,
          rate_limit: 1000,
        },
      },
    ]);
    const [task] = await stage.catalog.tasks.unfinished();
    await stage.catalog.tasks.changeState(task!.id, { state: 'cancelled' });
    await stage.catalog.restorePoints.recordVerification(older.id, {
      outcome: 'passed',
      full: true,
      at: now,
    });
    await schedule.look();
    expect(started.at(-1)?.subject.id).toBe(newer.id);
    await stage.catalog.tasks.changeState((await stage.catalog.tasks.unfinished())[0]!.id, {
      state: 'cancelled',
    });
    now = new Date(2026, 10, 21, 14);
    await schedule.look();
    expect(started).toHaveLength(2);
  });

  it('passes over what cannot be verified now, so that the others have their turn', async () => {
    await using stage = await ChainStage.create();
    const [one, other] = [stage.vm('pgtest1', [1 << 20]), stage.vm('pgtest2', [1 << 20])];
    const points = [await one.seal('full'), await one.seal('incremental'), await other.seal('full')];
    const [first, second, third] = points.map(({ id }) => id);
    const started: string[] = [];
    let now = new Date(2026, 10, 21, 12);
    let away = true;
    await using schedule = new ScheduledVerification({
      schedule: { everyDays: 30, window: undefined, rateLimitBytesPerSecond: 0 },
      ...{ catalog: stage.catalog, log, now: () => now },
      repositories: {
        usable: (id) =>
          away
            ? Promise.reject(new SendenseError('repository_missing', 'not mounted'))
            : stage.repositories.usable(id),
      },
      runs: { running: () => [], queue: () => [] },
      tasks: {
        // Nothing can be said of the point: a tool is missing, for one.
        start: async (request) => {
          started.push(request.subject.id);
          const task = await stage.catalog.tasks.create(request);
          return stage.catalog.tasks.changeState(task.id, { state: 'cancelled' });
        },
      },
    });
    await schedule.look();
    expect(started).toEqual([]);
    away = false;
    await stage.catalog.restorePoints.beginRemoval(second!);
    await schedule.look();
    // The chain of the first is being changed.
    expect(started).toEqual([third]);
    await stage.catalog.restorePoints.cancelRemoval(second!);
    for (let looks = 0; looks < 4; looks++) await schedule.look();
    expect(started).toEqual([third, first, second]);
    now = new Date(2026, 10, 21, 19);
    await schedule.look();
    expect(started.at(-1)).toBe(first);
  });
});
