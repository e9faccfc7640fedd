import { readFileSync, readdirSync, writeFileSync } from 'node:fs';

/** What one kind of process used during a measurement. */
export interface ProcessFigures {
  readonly name: string;
  readonly processes: number;
  readonly cpuSeconds: number;
  /** The highest resident set (VmHWM) that any one process of this kind reached during it. */
  readonly peakRssMib: number;
}

interface Sample {
  readonly name: string;
  readonly firstTicks: number;
  cpuTicks: number;
  peakRssKib: number;
}

interface Stat {
  readonly pid: string;
  readonly parent: string;
  readonly startTicks: string;
  readonly cpuTicks: number;
}

/** Of sysconf(_SC_CLK_TCK), which is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
const INTERVAL_MS = 250;

/**
 * Watches this process and its descendants, four times a second: a process that ends between two looks loses at most that
 * much of its time.
 */
export class ProcessWatch implements Disposable {
  readonly #samples = new Map<string, Sample>();
  /** Processes that do not descend from this one, and never will: they are read once. */
  #strangers: ReadonlySet<string> = new Set();
  readonly #timer: NodeJS.Timeout;
  readonly #machineTicks = busyTicks();

  /** @param classify the kind of a process by its command line; undefined leaves it out */
  constructor(private readonly classify: (commandLine: string) => string | undefined) {
    this.#look(true);
    this.#timer = setInterval(() => this.#look(false), INTERVAL_MS);
  }

  figures(): ProcessFigures[] {
    this.#look(false);
    return [...Map.groupBy(this.#samples.values(), ({ name }) => name)]
      .map(([name, samples]) => ({
        name,
        processes: samples.length,
        cpuSeconds:
          samples.reduce((sum, sample) => sum + sample.cpuTicks - sample.firstTicks, 0) / TICKS_PER_SECOND,
        peakRssMib: Math.max(...samples.map((sample) => sample.peakRssKib)) / 1024,
      }))
      .toSorted((a, b) => a.name.localeCompare(b.name));
  }

  /** CPU that everything else on this machine used meanwhile: what makes a measurement doubtful. */
  strangersCpuSeconds(): number {
    const own = this.figures().reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0);
    return Math.max(0, (busyTicks() - this.#machineTicks) / TICKS_PER_SECOND - own);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(first: boolean): void {
    const stats = new Map<string, Stat>();
    const strangers = new Set<string>();
    for (const pid of readdirSync('/proc')) {
      if (!/^\d+$/.test(pid)) continue;
      if (this.#strangers.has(pid)) strangers.add(pid);
      else attempt(() => stats.set(pid, readStat(pid)));
    }
    for (const stat of stats.values()) {
      if (isOurs(stat, stats)) attempt(() => this.#lookAt(stat, first));
      else strangers.add(stat.pid);
    }
    this.#strangers = strangers;
  }

  #lookAt({ pid, startTicks, cpuTicks }: Stat, first: boolean): void {
    const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    // It has ended, and was counted under its name.
    if (commandLine === '') return;
    const name = this.classify(commandLine);
    if (name === undefined) return;
    // The mark of the peak starts afresh (proc(5)), so that it is the peak of this measurement.
    if (first) writeFileSync(`/proc/${pid}/clear_refs`, '5');
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const peakRssKib = Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? 0);
    const key = `${pid} ${startTicks} ${name}`;
    const sample = this.#samples.get(key);
    if (sample) {
      sample.cpuTicks = cpuTicks;
      sample.peakRssKib = Math.max(sample.peakRssKib, peakRssKib);
    } else {
      // A process that was there before the measurement only counts what it uses from now on.
      this.#samples.set(key, { name, cpuTicks, firstTicks: first ? cpuTicks : 0, peakRssKib });
    }
  }
}

function isOurs(stat: Stat, stats: ReadonlyMap<string, Stat>): boolean {
  const own = String(process.pid);
  for (let at: Stat | undefined = stat; at; at = stats.get(at.parent)) if (at.pid === own) return true;
  return false;
}

function readStat(pid: string): Stat {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // proc(5), from field 3 on: the command's name before it may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return {
    pid,
    parent: fields[1] ?? '',
    startTicks: fields[19] ?? '',
    cpuTicks: Number(fields[11]) + Number(fields[12]),
  };
}

/** user, nice, system, irq, softirq and steal of all CPUs. */
function busyTicks(): number {
  const total = /^cpu .*/.exec(readFileSync('/proc/stat', 'utf8'))?.[0] ?? '';
  const [, user, nice, system, , , irq, softirq, steal] = total.split(/\s+/).map(Number);
  return [user, nice, system, irq, softirq, steal].reduce<number>((sum, ticks) => sum + (ticks ?? 0), 0);
}

/** Processes end while they are looked at. */
function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
