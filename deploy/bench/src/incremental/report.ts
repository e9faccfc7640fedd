import { median, round } from '../statistics.js';
import { atLeast, atMost, type Target } from '../targets.js';
import type { Increment, IncrementalResults } from './part.js';
import type { Times } from './restore.js';
import { BLOCK_BYTES } from './sizes.js';

/** Medians, as everywhere. */
interface IncrementReport {
  readonly end_to_end_seconds: number;
  readonly copy_seconds: number;
  /** From the node to the hub and back. */
  readonly wire_bytes: number;
  readonly wire_sent_bytes: number;
  readonly wire_received_bytes: number;
  readonly disk_bytes: number;
  readonly all_end_to_end_seconds: readonly number[];
  readonly strangers_share: number;
}

interface RestoreReport {
  readonly seconds: number;
  readonly all_seconds: readonly number[];
}

export interface IncrementalReport {
  readonly disk_mib: number;
  readonly data_mib: number;
  readonly changed: IncrementReport & {
    readonly changed_blocks: number;
    readonly changed_bytes: number;
    readonly wire_to_changed: number;
    readonly disk_to_changed: number;
  };
  readonly unchanged: IncrementReport;
  readonly planning: {
    readonly extents: number;
    /** Of code that never ran, as in a backup client. */
    readonly first_seconds: number;
    readonly seconds: number;
    readonly all_seconds: readonly number[];
  };
  /** By `sendense restore-point export`, and by qemu-img alone. */
  readonly restore: RestoreComparison & {
    readonly increments: number;
    readonly by_hand: RestoreComparison;
  };
}

interface RestoreComparison {
  readonly chain: RestoreReport;
  readonly full: RestoreReport;
  /** In speed. */
  readonly chain_to_full: number;
}

const MIB = 1 << 20;

export function incrementalReport({
  sizes,
  changed,
  unchanged,
  planning,
  restores,
  increments,
}: IncrementalResults): IncrementalReport {
  const changedBytes = sizes.changedBlocks * BLOCK_BYTES;
  const ofChanged = incrementReport(changed);
  const [first = 0, ...counted] = planning;
  return {
    disk_mib: sizes.diskMib,
    data_mib: sizes.dataMib,
    changed: {
      changed_blocks: sizes.changedBlocks,
      changed_bytes: changedBytes,
      wire_to_changed: thousandths(ofChanged.wire_bytes / changedBytes),
      disk_to_changed: thousandths(ofChanged.disk_bytes / changedBytes),
      ...ofChanged,
    },
    unchanged: incrementReport(unchanged),
    planning: {
      extents: sizes.plannedExtents,
      first_seconds: round(first),
      seconds: round(median(counted)),
      all_seconds: planning.map(round),
    },
    restore: {
      increments,
      ...comparison(restores.exported),
      by_hand: comparison(restores.byHand),
    },
  };
}

export function incrementalTargets({ changed, unchanged, planning, restore }: IncrementalReport): Target[] {
  return [
    atMost('1 % changed: bytes over the wire to bytes of changed blocks', 1.2, changed.wire_to_changed),
    atMost('nothing changed: seconds from request to restore point', 3, unchanged.end_to_end_seconds),
    atMost('nothing changed: MiB on disk', 1, round(unchanged.disk_bytes / MIB)),
    atMost(`planning ${planning.extents} extents, the first time: seconds`, 1, planning.first_seconds),
    atLeast(`export through ${restore.increments} increments: speed to a full`, 0.5, restore.chain_to_full),
  ];
}

/** Rows below: what, seconds, and whatever else there is to say. */
export function incrementalRows(report: IncrementalReport): string[][] {
  const { changed, unchanged, planning, restore } = report;
  const mib = (bytes: number) => (bytes / MIB).toFixed(2);
  const increment = (title: string, of: IncrementReport) => [
    ...[title, of.end_to_end_seconds.toFixed(2), of.copy_seconds.toFixed(2)],
    ...[mib(of.wire_bytes), mib(of.disk_bytes)],
  ];
  return [
    ['incrementals', 'seconds', 'of them copying', 'MiB on the wire', 'MiB on disk'],
    increment(`1 % of ${report.disk_mib} MiB changed (${mib(changed.changed_bytes)} MiB)`, changed),
    increment('nothing changed', unchanged),
    [`planning ${planning.extents} extents, the first time`, planning.first_seconds.toFixed(2)],
    ['… once its code is compiled', planning.seconds.toFixed(2)],
    [`export of a full (${report.data_mib} MiB)`, restore.full.seconds.toFixed(2)],
    [`export of the same through ${restore.increments} increments`, restore.chain.seconds.toFixed(2)],
    ['qemu-img convert of the full', restore.by_hand.full.seconds.toFixed(2)],
    ['qemu-img convert through the increments', restore.by_hand.chain.seconds.toFixed(2)],
  ].map((row) => [...row, '', '', ''].slice(0, 5));
}

function incrementReport(increments: readonly Increment[]): IncrementReport {
  const of = (figure: (increment: Increment) => number) => median(increments.map(figure));
  const sent = of(({ sentBytes }) => sentBytes);
  const received = of(({ receivedBytes }) => receivedBytes);
  return {
    end_to_end_seconds: round(of(({ endToEndSeconds }) => endToEndSeconds)),
    copy_seconds: round(of(({ copySeconds }) => copySeconds)),
    wire_bytes: sent + received,
    wire_sent_bytes: sent,
    wire_received_bytes: received,
    disk_bytes: of(({ diskBytes }) => diskBytes),
    all_end_to_end_seconds: increments.map(({ endToEndSeconds }) => round(endToEndSeconds)),
    strangers_share: round(Math.max(...increments.map(({ strangersShare: share }) => share))),
  };
}

function comparison({ chain, full }: Times): RestoreComparison {
  return {
    ...{ chain: restoreReport(chain), full: restoreReport(full) },
    chain_to_full: round(median(full) / median(chain)),
  };
}

function restoreReport(seconds: readonly number[]): RestoreReport {
  return { seconds: round(median(seconds)), all_seconds: seconds.map(round) };
}

function thousandths(value: number): number {
  return Math.round(value * 1000) / 1000;
}
