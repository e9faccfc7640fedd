import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { DiskBackupType, type DiskTarget, type RunBackupRequest } from '@sendense/contracts';
import type { LabVm } from '@sendense/lab';
import { eventsOf, type Targets } from './lab-stage.js';
import { failure, type Events } from './node-client.js';
import type { NodeStage } from './node-stage.js';

const run = promisify(execFile);

/** A backup that ended well, its images no longer served. */
export interface Point {
  readonly targets: Targets;
  /** By disk key, as the hub keeps them. */
  readonly changeIds: ReadonlyMap<number, string>;
  readonly snapshot: string;
  readonly events: Events['seen'];
}

export interface IncrementalOptions {
  readonly change?: Partial<RunBackupRequest>;
  /** By disk key. */
  readonly audit?: Readonly<Record<number, readonly number[]>>;
}

export async function takeFull(
  at: NodeStage,
  vm: LabVm,
  change: (disk: DiskTarget) => unknown = () => undefined,
): Promise<Point> {
  const targets = await at.stage.serve(vm);
  const request = at.request(targets, {}, vm);
  request.disks.forEach(change);
  return finish(at.client.backup(request), targets);
}

/** Every disk onto an overlay on its image of an earlier point. */
export async function takeIncremental(
  at: NodeStage,
  vm: LabVm,
  onto: Point,
  options: IncrementalOptions = {},
): Promise<Point> {
  const { job, overlays } = await startIncremental(at, vm, onto, options);
  return finish(job, overlays);
}

/** The same, for looking at how it ends; the caller disposes the overlays. */
export async function startIncremental(
  at: NodeStage,
  vm: LabVm,
  onto: Point,
  { change = {}, audit = {} }: IncrementalOptions = {},
): Promise<{ job: Events; overlays: Targets; request: RunBackupRequest }> {
  const overlays = await at.stage.serve(vm, onto.targets);
  const request = at.request(overlays, change, vm);
  for (const disk of request.disks) {
    disk.type = DiskBackupType.DISK_BACKUP_TYPE_INCREMENTAL;
    disk.previousChangeId = onto.changeIds.get(disk.diskKey)!;
    disk.targetHasBacking = true;
    disk.auditBlocks = (audit[disk.diskKey] ?? []).map(BigInt);
  }
  return { job: at.client.backup(request), overlays, request };
}

async function finish(job: Events, targets: Targets): Promise<Point> {
  const broken = await job.done;
  await targets[Symbol.asyncDispose]();
  const failed = broken ?? failure(job);
  if (failed) throw new Error(`${failed.code}: ${failed.message}`);
  const [created] = eventsOf(job.seen, 'snapshotCreated');
  const changeIds = new Map(created!.changeIds.map(({ diskKey, changeId }) => [diskKey, changeId]));
  return { targets, changeIds, snapshot: created!.moref, events: job.seen };
}

/** What the hub does with a target that became a full. */
export async function cutOff({ targets }: Point): Promise<void> {
  for (const image of targets.images.values())
    await run('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-b', '', image]);
}

/** Whether every image is what the snapshot of its point froze. */
export async function isIdentical(at: NodeStage, vm: LabVm, point: Point): Promise<boolean> {
  return Object.values(await at.stage.compare(vm, point.targets, point.snapshot)).every(Boolean);
}

/** The one disk of a point. */
export const started = (point: Point) => eventsOf(point.events, 'diskStarted')[0]!;
export const finished = (point: Point) => eventsOf(point.events, 'diskFinished')[0]!;
export const warnings = (point: Point) => eventsOf(point.events, 'warning').map(({ code }) => code);
