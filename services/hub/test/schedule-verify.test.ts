import { describe, expect, it } from '@jest/globals';
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
      ...{ catalog: stage.catalog, log, now: () => now },
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
});
