import { PATHS, type LineResults, type Path, type Results, type WorkloadResults } from './bench.js';
import { catalogueReport, catalogueTargets, type CatalogueReport } from './catalogue/report.js';
import { failuresReport, failuresTargets, type FailureReport } from './failures/report.js';
import { incrementalReport, incrementalTargets, type IncrementalReport } from './incremental/report.js';
import type { Measurement } from './measure.js';
import type { ProcessFigures } from './process-figures.js';
import { median, round } from './statistics.js';
import { atLeast, atMost, type Target } from './targets.js';

/** What one path did with one kind of data: medians. */
export interface PathReport {
  readonly seconds: number;
  readonly mib_per_second: number;
  readonly end_to_end_seconds?: number;
  readonly processes: readonly {
    readonly name: string;
    readonly processes: number;
    readonly cpu_seconds: number;
    readonly peak_rss_mib: number;
  }[];
  /** Each of its measurements. */
  readonly all_seconds: readonly number[];
  /** The largest share of the CPU that other programs used in one of them. */
  readonly strangers_share: number;
}

export interface WorkloadReport {
  readonly disks: number;
  readonly disk_mib: number;
  readonly used_mib: number;
  readonly data_mib: number;
  readonly paths: Readonly<Record<Path, PathReport>>;
  /** In speed: above 1 the backup is faster. */
  readonly full_to_direct: number;
  readonly full_to_ssh: number;
}

export interface Report {
  readonly workloads: Readonly<Record<string, WorkloadReport>>;
  readonly lines: readonly (PathReport & { readonly rtt_ms: number; readonly to_0_ms: number })[];
  /** In time, a thin disk of 1 TiB to a dense one with as much data. */
  readonly huge_to_dense?: number;
  /** In one of the full backups. */
  readonly backup_client_peak_mib?: number;
  readonly incremental?: IncrementalReport;
  readonly catalogue?: CatalogueReport;
  readonly failures?: readonly FailureReport[];
  readonly targets: readonly Target[];
}

export function makeReport({ workloads, lines, incremental, catalogue, failures }: Results): Report {
  const byName = Object.fromEntries(workloads.map((workload) => [workload.name, workloadReport(workload)]));
  const backupClient = [...workloads.flatMap(({ runs }) => runs.full), ...lines.flatMap(({ runs }) => runs)]
    .flatMap(({ processes }) => processes)
    .filter(({ name }) => name === 'backup client');
  const peak = round(Math.max(0, ...backupClient.map(({ peakRssMib }) => peakRssMib)));
  const { dense, huge } = byName;
  const report = {
    workloads: byName,
    lines: lines.map((line) => lineReport(line, lines[0])),
    ...(dense && huge ? { huge_to_dense: round(huge.paths.full.seconds / dense.paths.full.seconds) } : {}),
    ...(backupClient.length > 0 ? { backup_client_peak_mib: peak } : {}),
    ...(incremental ? { incremental: incrementalReport(incremental) } : {}),
    ...(catalogue ? { catalogue: catalogueReport(catalogue) } : {}),
    ...(failures ? { failures: failuresReport(failures) } : {}),
  };
  return { ...report, targets: targets(report) };
}

function workloadReport({ runs, disks, diskMib, usedMib, dataMib }: WorkloadResults): WorkloadReport {
  const paths = Object.fromEntries(
    PATHS.map((path) => [path, pathReport(runs[path], usedMib * disks)]),
  ) as Record<Path, PathReport>;
  return {
    ...{ disks, disk_mib: diskMib, used_mib: usedMib, data_mib: dataMib, paths },
    full_to_direct: round(paths.direct.seconds / paths.full.seconds),
    full_to_ssh: round(paths.ssh.seconds / paths.full.seconds),
  };
}

function lineReport({ roundTripMs, usedMib, runs }: LineResults, first: LineResults | undefined) {
  const seconds = (of: readonly Measurement[]) => median(of.map(({ copySeconds }) => copySeconds));
  return {
    rtt_ms: roundTripMs,
    ...pathReport(runs, usedMib),
    to_0_ms: round(seconds(first?.runs ?? runs) / seconds(runs)),
  };
}

function pathReport(runs: readonly Measurement[], usedMib: number): PathReport {
  const seconds = median(runs.map(({ copySeconds }) => copySeconds));
  const endToEnd = runs.flatMap(({ endToEndSeconds }) => endToEndSeconds ?? []);
  return {
    seconds: round(seconds),
    mib_per_second: Math.round(usedMib / seconds),
    ...(endToEnd.length > 0 ? { end_to_end_seconds: round(median(endToEnd)) } : {}),
    processes: processReports(runs.map(({ processes }) => processes)),
    all_seconds: runs.map(({ copySeconds }) => round(copySeconds)),
    strangers_share: round(Math.max(...runs.map(({ strangersShare }) => strangersShare))),
  };
}

/** CPU: the median; memory: the highest. */
function processReports(runs: readonly (readonly ProcessFigures[])[]): PathReport['processes'] {
  const names = [...new Set(runs.flat().map(({ name }) => name))].sort();
  return names.map((name) => {
    const figures = runs.flat().filter((figure) => figure.name === name);
    return {
      name,
      processes: Math.max(...figures.map(({ processes }) => processes)),
      cpu_seconds: round(median(figures.map(({ cpuSeconds }) => cpuSeconds))),
      peak_rss_mib: Math.round(Math.max(...figures.map(({ peakRssMib }) => peakRssMib))),
    };
  });
}

function targets(report: Omit<Report, 'targets'>): Target[] {
  const { dense, two_disks: two } = report.workloads;
  const { huge_to_dense: huge, backup_client_peak_mib: peak, incremental, catalogue, failures } = report;
  return [
    ...(dense ? [atLeast('dense: speed to nbdcopy through ssh -L', 1.3, dense.full_to_ssh)] : []),
    ...(dense ? [atLeast('dense: speed to nbdcopy without tunnel', 0.7, dense.full_to_direct)] : []),
    ...(huge === undefined
      ? []
      : [atMost('1 TiB thin disk: time to a dense disk with as much data', 1.5, huge)]),
    ...(two && peak !== undefined ? [atMost('backup client, 2 disks: peak MiB resident', 200, peak)] : []),
    ...report.lines.slice(1).map(({ rtt_ms: ms, to_0_ms: measured }) => {
      return atLeast(`${ms} ms of round trip: speed to 0 ms`, 0.7, measured);
    }),
    ...(incremental ? incrementalTargets(incremental) : []),
    ...(catalogue ? catalogueTargets(catalogue) : []),
    ...(failures ? failuresTargets(failures) : []),
  ];
}
