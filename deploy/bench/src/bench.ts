import { availableParallelism } from 'node:os';
import { backUp } from './full-path.js';
import { measureCatalogue, type CatalogueResults } from './catalogue/part.js';
import { spaceForCatalogue } from './catalogue/sizes.js';
import { measureFailures, type FailureResult } from './failures/part.js';
import { measureIncrementals, type IncrementalResults } from './incremental/part.js';
import { sizesFor, spaceForIncrementals } from './incremental/sizes.js';
import { measure, type How, type Measurement } from './measure.js';
import { copyWithNbdcopy } from './nbdcopy.js';
import type { BenchOptions } from './options.js';
import { openSetting, workloadsOf, type ProtectedWorkload, type Setting } from './setting.js';
import { requireSpace, spaceForWorkloads } from './space.js';
import type { Workload } from './workloads.js';

export const PATHS = ['full', 'direct', 'ssh'] as const;
export type Path = (typeof PATHS)[number];

export interface WorkloadResults extends Workload {
  readonly runs: Readonly<Record<Path, readonly Measurement[]>>;
}

export interface LineResults {
  readonly roundTripMs: number;
  readonly usedMib: number;
  readonly runs: readonly Measurement[];
}

export interface Results {
  readonly workloads: readonly WorkloadResults[];
  /** The first is at 0 ms, through the same relay. */
  readonly lines: readonly LineResults[];
  readonly incremental?: IncrementalResults;
  readonly catalogue?: CatalogueResults;
  readonly failures?: readonly FailureResult[];
}

/** Of one measurement, on a machine that has other things to do. */
const MAX_TRIES = 3;
/** MiB: the disks, and a repository that is a file system of its own. */
const SPACE_FOR_FAILURES = 400;

/**
 * One run: everything takes turns, so that whatever changes on the machine meanwhile changes it for all of them.
 * @throws `out_of_space`
 */
export async function runBench(options: BenchOptions, say: (text: string) => void): Promise<Results> {
  const how = { cores: availableParallelism(), maxTries: options.quick ? 1 : MAX_TRIES };
  requireSpace(options.directory, spaceNeeded(options, how));
  const { near, far } = workloadsOf(options);
  const full = near.length > 0 || far ? await measureFulls(options, how, say) : { workloads: [], lines: [] };
  return {
    ...full,
    ...(options.incremental ? { incremental: await measureIncrementals(options, how, say) } : {}),
    ...(options.catalogue ? { catalogue: await measureCatalogue(options, say) } : {}),
    ...(options.failures ? { failures: await measureFailures(options, say) } : {}),
  };
}

/** MiB of data. The parts come one after the other, and each cleans up. */
function spaceNeeded(options: BenchOptions, { maxTries }: How): number {
  const { near, far } = workloadsOf(options);
  const incrementals = spaceForIncrementals(
    sizesFor(options.sizeMib, options.quick),
    options.repeat * maxTries,
  );
  return Math.max(
    spaceForWorkloads(far ? [...near, far] : near),
    options.incremental ? incrementals : 0,
    options.catalogue ? spaceForCatalogue(options.quick) : 0,
    options.failures ? SPACE_FOR_FAILURES : 0,
  );
}

async function measureFulls(
  options: BenchOptions,
  how: How,
  say: (text: string) => void,
): Promise<Pick<Results, 'workloads' | 'lines'>> {
  await using setting = await openSetting(options, say);
  const workloads = setting.workloads.map((workload) => ({
    ...workload,
    runs: { full: [] as Measurement[], direct: [] as Measurement[], ssh: [] as Measurement[] },
  }));
  const lines = (setting.far ? [0, ...options.roundTripsMs] : []).map((roundTripMs) => ({
    roundTripMs,
    usedMib: setting.far?.workload.usedMib ?? 0,
    runs: [] as Measurement[],
  }));
  await warmUp(setting, say);
  for (let round = 0; round < options.repeat; round++) {
    for (const workload of workloads) {
      for (const path of rotated(PATHS, round)) {
        const measured = await measure(() => take(setting, workload, path), how);
        workload.runs[path].push(measured);
        say(`round ${round + 1}: ${workload.title}, ${path}: ${describe(measured)}`);
      }
    }
    for (const line of rotated(lines, round)) {
      const measured = await measure(() => backUpFar(setting, line.roundTripMs), how);
      line.runs.push(measured);
      say(`round ${round + 1}: dense, full at ${line.roundTripMs} ms: ${describe(measured)}`);
    }
  }
  return { workloads, lines };
}

/**
 * Each path once, uncounted: whoever comes first pays for memory that nobody used before (the images' on a tmpfs too, which
 * a virtual machine must get from its host), for programs that are not in the page cache and for code not yet compiled, and
 * may take several times as long.
 */
async function warmUp(setting: Setting, say: (text: string) => void): Promise<void> {
  const startedAt = performance.now();
  for (const workload of setting.workloads) for (const path of PATHS) await take(setting, workload, path);
  if (setting.far) await backUpFar(setting, 0);
  say(`warmed up in ${((performance.now() - startedAt) / 1000).toFixed(0)} s`);
}

function take(setting: Setting, workload: ProtectedWorkload, path: Path) {
  return path === 'full' ? backUp(setting, workload) : copyWithNbdcopy(setting, workload, path);
}

async function backUpFar(setting: Setting, roundTripMs: number) {
  if (!setting.far) throw new Error('there is no relay');
  const { relay, workload } = setting.far;
  relay.roundTripMs = roundTripMs;
  return backUp(setting, workload);
}

function rotated<T>(list: readonly T[], by: number): T[] {
  const at = list.length === 0 ? 0 : by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

function describe({ copySeconds, strangersShare }: Measurement): string {
  const busy = strangersShare > 0.02 ? `, others used ${Math.round(strangersShare * 100)} % of the CPU` : '';
  return `${copySeconds.toFixed(2)} s${busy}`;
}
