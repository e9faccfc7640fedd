import { readFileSync, readdirSync } from 'node:fs';

/** What one kind of process used during a measurement. */
export interface ProcessFigures {
  readonly name: string;
  readonly processes: number;
  readonly cpuSeconds: number;
  /** The highest resident set that any one process of this kind reached. */
  readonly peakRssMib: number;
}

interface Sample {
  readonly name: string;
  readonly startTicks: string;
  cpuTicks: number;
  firstTicks: number;
  peakRssKib: number;
}

const TICKS_PER_SECOND = 100;

/**
 * Watches the processes of this machine whose command line says what they are, ten times a second: a process that ends
 * between two looks loses at most that much of its time.
 */
export class ProcessWatch implements Disposable {
  readonly #samples = new Map<string, Sample>();
  readonly #timer: NodeJS.Timeout;

  /** @param classify the kind of a process by its command line; undefined leaves it out */
  constructor(private readonly classify: (commandLine: string) => string | undefined) {
    this.#look(true);
    this.#timer = setInterval(() => this.#look(false), 100);
  }

  figures(): ProcessFigures[] {
    this.#look(false);
    const byName = new Map<string, Sample[]>();
    for (const sample of this.#samples.values())
      byName.set(sample.name, [...(byName.get(sample.name) ?? []), sample]);
    return [...byName]
      .map(([name, samples]) => ({
        name,
        processes: samples.length,
        cpuSeconds:
          samples.reduce((sum, sample) => sum + sample.cpuTicks - sample.firstTicks, 0) / TICKS_PER_SECOND,
        peakRssMib: Math.max(...samples.map((sample) => sample.peakRssKib)) / 1024,
      }))
      .toSorted((a, b) => a.name.localeCompare(b.name));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(first: boolean): void {
    for (const entry of readdirSync('/proc')) {
      if (!/^\d+$/.test(entry)) continue;
      try {
        this.#lookAt(entry, first);
      } catch {
        // It ended while it was looked at.
      }
    }
  }

  #lookAt(pid: string, first: boolean): void {
    const name = this.classify(readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '));
    if (name === undefined) return;
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const startTicks = fields[19] ?? '';
    const cpuTicks = Number(fields[11]) + Number(fields[12]);
    const rss = Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
    const key = `${pid} ${startTicks} ${name}`;
    const sample = this.#samples.get(key);
    if (!sample) {
      // A process that was there before the measurement only counts what it uses from now on.
      this.#samples.set(key, {
        name,
        startTicks,
        cpuTicks,
        firstTicks: first ? cpuTicks : 0,
        peakRssKib: rss,
      });
      return;
    }
    sample.cpuTicks = cpuTicks;
    sample.peakRssKib = Math.max(sample.peakRssKib, rss);
  }
}
