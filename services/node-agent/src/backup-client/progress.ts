import type { DiskProgress } from '@sendense/contracts';
import type { JobPorts } from './job.js';

const INTERVAL_MS = 500;

/** Turns the bytes of all disks into at most two progress events a second, the last of them on disposal. */
export class ProgressReporter implements Disposable {
  readonly #disks = new Map<number, DiskProgress>();
  readonly #timer: NodeJS.Timeout;
  #changed = false;

  constructor(private readonly emit: JobPorts['emit']) {
    this.#timer = setInterval(() => this.#report(), INTERVAL_MS);
  }

  update(diskKey: number, bytesDone: number, bytesTotal: number): void {
    this.#disks.set(diskKey, { diskKey, bytesDone: BigInt(bytesDone), bytesTotal: BigInt(bytesTotal) });
    this.#changed = true;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#report();
  }

  #report(): void {
    if (!this.#changed) return;
    this.#changed = false;
    this.emit({ $case: 'progress', value: { disks: [...this.#disks.values()] } });
  }
}
