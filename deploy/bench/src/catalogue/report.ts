import { round } from '../statistics.js';
import { atMost, type Target } from '../targets.js';
import type { CatalogueResults, DatabaseResults, Timings } from './part.js';

/** Milliseconds. */
export interface TimingReport {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

interface DatabaseReport {
  readonly database: string;
  readonly seed_seconds: number;
  readonly database_mib: number;
  readonly start_seconds: number;
  readonly memory_mib: { readonly started: number; readonly peak: number };
  readonly stolen_share: { readonly counted: number; readonly all: number };
  /** Through the API, the whole request. */
  readonly requests: Readonly<Record<string, TimingReport>>;
  /** Of the catalogue itself. */
  readonly work: Readonly<Record<string, TimingReport>>;
}

export interface CatalogueReport {
  readonly vms: number;
  readonly restore_points: number;
  readonly requests_each: number;
  readonly databases: readonly DatabaseReport[];
}

const LIMIT_MS = 50;

export function catalogueReport({ sizes, databases }: CatalogueResults): CatalogueReport {
  return {
    vms: sizes.vms,
    restore_points: sizes.vms * sizes.pointsPerVm,
    requests_each: sizes.requests,
    databases: databases.map(databaseReport),
  };
}

function databaseReport(results: DatabaseResults): DatabaseReport {
  const { database, seedSeconds, databaseMib, startSeconds, memoryMib, stolenShare, requests, work } =
    results;
  return {
    database,
    seed_seconds: Math.round(seedSeconds),
    database_mib: databaseMib,
    start_seconds: round(startSeconds),
    memory_mib: memoryMib,
    stolen_share: { counted: round(stolenShare.counted), all: round(stolenShare.all) },
    requests: timingReports(requests),
    work: timingReports(work),
  };
}

function timingReports(timings: readonly Timings[]): Record<string, TimingReport> {
  return Object.fromEntries(timings.map(({ name, ms }) => [name, timingReport(ms)]));
}

function timingReport(ms: readonly number[]): TimingReport {
  const sorted = ms.toSorted((a, b) => a - b);
  // The nearest rank: of 200, the third from the top.
  const percentile = (share: number) => round(sorted[Math.ceil(share * sorted.length) - 1] ?? 0);
  return { p50: percentile(0.5), p99: percentile(0.99), max: percentile(1) };
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** The slowest of all: when that one is met, each is. */
export function catalogueTargets({ databases }: CatalogueReport): Target[] {
  return databases.map(({ database, requests }) => {
    const [name, slowest] = Object.entries(requests).reduce((worst, next) =>
      next[1].p99 > worst[1].p99 ? next : worst,
    );
    return atMost(`catalogue on ${database}, the slowest request (${name}): p99, ms`, LIMIT_MS, slowest.p99);
  });
}

export function catalogueRows({ vms, restore_points, databases }: CatalogueReport): string[][] {
  const numbers = ({ p50, p99, max }: TimingReport) => [p50, p99, max].map((ms) => ms.toFixed(1));
  return [
    [`catalogue of ${vms} VMs, ${restore_points} restore points`, 'p50 ms', 'p99', 'max'],
    ...databases.flatMap(({ database, requests, work, ...one }) => [
      [
        `${database}: ${one.database_mib} MiB; the hub starts in ${one.start_seconds} s, ` +
          `with ${one.memory_mib.started} MiB and at most ${one.memory_mib.peak}; ` +
          `${percent(one.stolen_share.counted)} of the CPU were not given to this machine, ${percent(one.stolen_share.all)} with the requests that do not count`,
        ...['', '', ''],
      ],
      ...Object.entries({ ...requests, ...work }).map(([name, timing]) => [`  ${name}`, ...numbers(timing)]),
    ]),
  ];
}
