import { describe, expect, it } from '@jest/globals';
import { ProgressMeter } from './progress.js';

describe('ProgressMeter', () => {
  function meter() {
    const clock = { nowMs: 0 };
    const read = new ProgressMeter(
      [
        { key: 2000, expectedBytes: 1000 },
        { key: 2001, expectedBytes: 500 },
      ],
      () => clock.nowMs,
    );
    return { clock, meter: read };
  }

  it('expects what was planned until the node says what there is', () => {
    const { meter: read } = meter();
    expect(read.read()).toMatchObject({ bytesDone: 0, bytesTotal: 1500, bytesPerSecond: 0 });
    expect(read.read().secondsLeft).toBeUndefined();
    read.update(2000, { bytesTotal: 300 });
    expect(read.read()).toMatchObject({ bytesTotal: 800 });
  });

  it('shows rate and time left, per disk and in total', () => {
    const { clock, meter: read } = meter();
    for (clock.nowMs = 0; clock.nowMs <= 4000; clock.nowMs += 1000) {
      read.update(2000, { bytesDone: clock.nowMs / 10 });
      read.update(2001, { bytesDone: clock.nowMs / 20 });
    }
    clock.nowMs = 4000;
    expect(read.read()).toEqual({
      bytesDone: 600,
      bytesTotal: 1500,
      bytesPerSecond: 150,
      secondsLeft: 6,
      disks: [
        { diskKey: 2000, bytesDone: 400, bytesTotal: 1000, bytesPerSecond: 100, secondsLeft: 6 },
        { diskKey: 2001, bytesDone: 200, bytesTotal: 500, bytesPerSecond: 50, secondsLeft: 6 },
      ],
    });
  });

  it('forgets what was long ago, and falls to nothing when nothing comes', () => {
    const { clock, meter: read } = meter();
    read.update(2000, { bytesDone: 0 });
    clock.nowMs = 1000;
    read.update(2000, { bytesDone: 900 });
    clock.nowMs = 100_000;
    expect(read.read()).toMatchObject({ bytesPerSecond: 0 });
    expect(read.read().secondsLeft).toBeUndefined();
  });

  it('takes nothing back, and knows no other disks', () => {
    const { meter: read } = meter();
    read.update(2000, { bytesDone: 700 });
    read.update(2000, { bytesDone: 100 });
    read.update(4711, { bytesDone: 100 });
    expect(read.read().bytesDone).toBe(700);
  });

  it('has no time left when everything is done', () => {
    const { meter: read } = meter();
    read.update(2000, { bytesDone: 1000 });
    expect(read.read().disks[0]).toMatchObject({ secondsLeft: 0 });
  });
});
