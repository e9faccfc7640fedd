import type { BackupProgress, Progress } from './types.js';

/** Rates are those of the last seconds: what somebody who watches wants to know. */
const WINDOW_MS = 10_000;

interface Sample {
  readonly atMs: number;
  readonly bytes: number;
}

/** How far one backup is, disk by disk, and how fast it was lately. */
export class ProgressMeter {
  readonly #disks: Map<number, { done: number; total: number; samples: Sample[] }>;

  /** @param disks with the bytes that will probably be read, until the node says exactly */
  constructor(
    disks: readonly { readonly key: number; readonly expectedBytes: number }[],
    private readonly nowMs: () => number = () => performance.now(),
  ) {
    this.#disks = new Map(
      disks.map(({ key, expectedBytes }) => [key, { done: 0, total: expectedBytes, samples: [] }]),
    );
  }

  /** Numbers only grow: an event that came late takes nothing back. */
  update(diskKey: number, { bytesDone, bytesTotal }: { bytesDone?: number; bytesTotal?: number }): void {
    const disk = this.#disks.get(diskKey);
    if (!disk) return;
    if (bytesTotal !== undefined) disk.total = bytesTotal;
    if (bytesDone === undefined) return;
    disk.done = Math.max(disk.done, bytesDone);
    disk.samples.push({ atMs: this.nowMs(), bytes: disk.done });
  }

  read(): BackupProgress {
    const disks = [...this.#disks].map(([diskKey, { done, total, samples }]) => ({
      diskKey,
      ...withTimeLeft(done, total, this.#rate(samples)),
    }));
    const sum = (of: (disk: Progress) => number) => disks.reduce((total, disk) => total + of(disk), 0);
    return {
      ...withTimeLeft(
        sum((disk) => disk.bytesDone),
        sum((disk) => disk.bytesTotal),
        sum((disk) => disk.bytesPerSecond),
      ),
      disks,
    };
  }

  /** Bytes per second since the oldest sample of the window until now, so that the rate falls when nothing comes. */
  #rate(samples: Sample[]): number {
    const now = this.nowMs();
    // One sample from before the window stays, as its beginning.
    while ((samples[1]?.atMs ?? now) < now - WINDOW_MS) samples.shift();
    const [first, last] = [samples[0], samples.at(-1)];
    if (!first || !last || now <= first.atMs) return 0;
    return Math.round(((last.bytes - first.bytes) * 1000) / (now - first.atMs));
  }
}

function withTimeLeft(bytesDone: number, bytesTotal: number, bytesPerSecond: number): Progress {
  const left = Math.max(0, bytesTotal - bytesDone);
  const secondsLeft = left === 0 ? 0 : bytesPerSecond > 0 ? Math.ceil(left / bytesPerSecond) : undefined;
  return { bytesDone, bytesTotal, bytesPerSecond, secondsLeft };
}
