import { describe, expect, it } from '@jest/globals';
import { EventLog } from './events.js';
import type { BackupEvent, BackupProgress } from './types.js';

const progress = (bytesDone: number): { type: 'progress'; progress: BackupProgress } => ({
  type: 'progress',
  progress: { bytesDone, bytesTotal: 100, bytesPerSecond: 0, secondsLeft: undefined, disks: [] },
});

async function collect(events: AsyncIterable<BackupEvent>): Promise<string[]> {
  const seen: string[] = [];
  for await (const event of events) {
    seen.push(
      `${event.sequence} ${event.type === 'state' ? event.state : event.type === 'progress' ? event.progress.bytesDone : event.type}`,
    );
  }
  return seen;
}

describe('EventLog', () => {
  it('gives every subscriber all events in order, also one that comes late', async () => {
    const log = new EventLog();
    const early = collect(log.after(0));
    log.push({ type: 'state', state: 'preparing' });
    await Promise.resolve();
    log.push({ type: 'disk', diskKey: 2000, status: 'qemu_started' });
    const late = collect(log.after(1));
    log.push({ type: 'state', state: 'completed' });
    expect(await early).toEqual(['1 preparing', '2 disk', '3 completed']);
    expect(await late).toEqual(['2 disk', '3 completed']);
    expect(await collect(log.after(0))).toEqual(['1 preparing', '2 disk', '3 completed']);
    expect(await collect(log.after(3))).toEqual([]);
    expect(await collect(log.after(99))).toEqual([]);
  });

  it('replays only the newest progress', async () => {
    const log = new EventLog();
    log.push({ type: 'state', state: 'running' });
    for (let done = 1; done <= 50; done++) log.push(progress(done));
    log.push({ type: 'state', state: 'failed' });
    expect(await collect(log.after(0))).toEqual(['1 running', '51 50', '52 failed']);
  });

  it('adds nothing after the end', async () => {
    const log = new EventLog();
    log.push({ type: 'state', state: 'cancelled' });
    log.push(progress(3));
    expect(await collect(log.after(0))).toEqual(['1 cancelled']);
  });

  it('lets go of a subscriber whose signal aborts', async () => {
    const log = new EventLog();
    const stop = new AbortController();
    const seen = collect(log.after(0, stop.signal));
    log.push(progress(1));
    await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    expect(await seen).toEqual(['1 1']);
  });
});
