import { describe, expect, it } from '@jest/globals';
import { eventually } from '@sendense/runtime/testing';
import { EventLog, type JobEventBody } from './event-log.js';

const warning = (message: string): JobEventBody => ({
  $case: 'warning',
  value: { code: 'internal', message, context: {} },
});
const progress = (bytesDone: bigint): JobEventBody => ({
  $case: 'progress',
  value: { disks: [{ diskKey: 2000, bytesDone, bytesTotal: 100n }] },
});
const finished: JobEventBody = {
  $case: 'finished',
  value: { bytesRead: 1n, bytesWritten: 1n, bytesZeroed: 0n },
};

/** Reads a log as a watcher does; `text` grows as events come. */
function watch(log: EventLog, after = 0, signal = new AbortController().signal) {
  const text: string[] = [];
  const done = (async () => {
    for await (const { sequence, event } of log.watch(after, signal)) {
      const shown =
        event?.$case === 'progress' ? `progress ${event.value.disks[0]?.bytesDone}` : event?.$case;
      text.push(`${sequence} ${shown}`);
    }
  })();
  return { text, done };
}

describe('the events of a job', () => {
  it('numbers them from 1 without gaps, whatever progress lies between', async () => {
    const log = new EventLog();
    for (const event of [warning('a'), progress(1n), progress(2n), warning('b'), progress(3n), finished])
      log.append(event);
    const { text, done } = watch(log);
    await done;
    expect(text).toEqual(['1 warning', '2 warning', '3 finished']);
  });

  it('replays after a number, shows the newest progress only, then goes on live', async () => {
    const log = new EventLog();
    for (const event of [warning('a'), warning('b'), progress(1n), progress(2n)]) log.append(event);
    const { text, done } = watch(log, 1);
    await eventually('it caught up', () => text.length === 2);
    expect(text).toEqual(['2 warning', '2 progress 2']);
    log.append(progress(3n));
    await eventually('progress comes', () => text.length === 3);
    log.append(finished);
    await done;
    expect(text.slice(2)).toEqual(['2 progress 3', '3 finished']);
  });

  it('keeps its memory when progress goes on for hours', () => {
    const log = new EventLog();
    log.append(warning('a'));
    for (let count = 0n; count < 100_000n; count++) log.append(progress(count));
    expect(log.events).toHaveLength(1);
    expect(log.lastSequence).toBe(1);
  });

  it('never lets the numbers of one stream go down', async () => {
    const log = new EventLog();
    log.append(warning('a'));
    log.append(progress(1n));
    log.append(warning('b'));
    const { text, done } = watch(log);
    await eventually('it caught up', () => text.length === 2);
    log.append(finished);
    await done;
    expect(text).toEqual(['1 warning', '2 warning', '3 finished']);
  });

  it('keeps the first end: what is said after it changes nothing', async () => {
    const log = new EventLog();
    log.append({
      $case: 'failed',
      value: { code: 'cancelled', message: 'x', context: {}, retryable: false },
    });
    log.append(finished);
    expect(log.ended).toBe(true);
    const { text, done } = watch(log);
    await done;
    expect(text).toEqual(['1 failed']);
  });

  it('lets go of a watcher that leaves', async () => {
    const log = new EventLog();
    const leave = new AbortController();
    const { text, done } = watch(log, 0, leave.signal);
    leave.abort();
    await done;
    log.append(warning('a'));
    expect(text).toEqual([]);
  });
});
