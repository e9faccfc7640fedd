import { JobEvent, type DiskProgress } from '@sendense/contracts';
import { printable } from '@sendense/core';

export interface View extends Disposable {
  show(event: JobEvent): void;
}

/** Lines of progress are for logs: more often than this they are noise. */
const LINE_EVERY_MS = 5000;
const BAR_WIDTH = 30;

/** Events as JSON lines on stdout; or text on stderr, with a bar where somebody watches, and the result on stdout. */
export function createView(json: boolean): View {
  if (json) {
    return {
      show: (event) => void process.stdout.write(`${JSON.stringify(JobEvent.toJSON(event))}\n`),
      [Symbol.dispose]() {},
    };
  }
  return new TextView(process.stderr.isTTY);
}

class TextView implements View {
  readonly #startedAt = Date.now();
  readonly #totals = new Map<number, DiskProgress>();
  #lastLineAt = 0;
  #barShown = false;

  constructor(private readonly watched: boolean) {}

  show({ event }: JobEvent): void {
    if (event?.$case === 'progress') {
      this.#progress(event.value.disks);
      return;
    }
    const text = event && describe(event);
    if (!text) return;
    this.#clearBar();
    (event?.$case === 'finished' ? process.stdout : process.stderr).write(`${printable(text)}\n`);
  }

  [Symbol.dispose](): void {
    this.#clearBar();
  }

  #progress(disks: readonly DiskProgress[]): void {
    for (const disk of disks) this.#totals.set(disk.diskKey, disk);
    const all = [...this.#totals.values()];
    const done = all.reduce((sum, { bytesDone }) => sum + Number(bytesDone), 0);
    const total = all.reduce((sum, { bytesTotal }) => sum + Number(bytesTotal), 0);
    const part = total === 0 ? 1 : done / total;
    const rate = done / ((Date.now() - this.#startedAt) / 1000);
    const numbers = `${(part * 100).toFixed(1)} %  ${size(done)} of ${size(total)}  ${size(rate)}/s`;
    if (this.watched) {
      const filled = Math.round(part * BAR_WIDTH);
      const bar = `${'█'.repeat(filled)}${'·'.repeat(BAR_WIDTH - filled)}`;
      process.stderr.write(`\r\u001b[K${bar} ${numbers}`);
      this.#barShown = true;
    } else if (Date.now() - this.#lastLineAt >= LINE_EVERY_MS) {
      this.#lastLineAt = Date.now();
      process.stderr.write(`progress ${numbers}\n`);
    }
  }

  #clearBar(): void {
    if (this.#barShown) process.stderr.write('\r\u001b[K');
    this.#barShown = false;
  }
}

/** One line, or nothing for what is not worth one. */
function describe(event: NonNullable<JobEvent['event']>): string {
  switch (event.$case) {
    case 'changeTracking':
      return `changed block tracking: ${event.value.enabled ? 'on' : 'off'} (${event.value.outcome})`;
    case 'snapshotCreated': {
      const { name, moref, quiesced, quiesceNote, changeIds } = event.value;
      const how = quiesced ? 'quiesced' : quiesceNote || 'not quiesced';
      const ids = changeIds.filter(({ changeId }) => changeId !== '');
      const next = ids.map(({ diskKey, changeId }) => `${diskKey}=${changeId}`).join(',');
      const hint = next === '' ? '' : `; for the next one --previous-change-ids '${next}'`;
      return `snapshot ${name} (${moref}), ${how}${hint}`;
    }
    case 'diskStarted': {
      const { diskKey, bytesTotal, extentSource, extentCount, fullReason } = event.value;
      const what = `disk ${diskKey}: ${size(Number(bytesTotal))} to read, ${extentCount} extents from ${extentSource}`;
      if (fullReason === '') return what;
      return `${what}; a full (${fullReason}): when its server has ended, cut its backing file off: qemu-img rebase -u -b '' IMAGE`;
    }
    case 'diskFinished': {
      const { diskKey, bytesRead, bytesWritten, bytesZeroed, durationMs } = event.value;
      return `disk ${diskKey}: ${amounts({ bytesRead, bytesWritten, bytesZeroed })} in ${Number(durationMs) / 1000} s`;
    }
    case 'snapshotRemoved':
      return `snapshot ${event.value.moref} removed`;
    case 'warning':
      return `warning: ${event.value.message} [${event.value.code}]`;
    case 'finished':
      return `finished: ${amounts(event.value)}`;
    case 'failed':
      return `failed: ${event.value.message} [${event.value.code}]`;
    default:
      return '';
  }
}

function amounts(bytes: { bytesRead: bigint; bytesWritten: bigint; bytesZeroed: bigint }): string {
  return `${size(Number(bytes.bytesRead))} read, ${size(Number(bytes.bytesWritten))} written, ${size(Number(bytes.bytesZeroed))} zeros`;
}

function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}
