import { slug } from '@sendense/core';
import type { Snapshot } from '@sendense/vsphere';

/** A snapshot's name, like every name in a vCenter inventory, holds at most 80 characters. */
const MAX_NAME_LENGTH = 80;
const PREFIX = 'sendense-';

/**
 * Another node, or a backup by hand, may be reading its snapshot right now, and nobody here can ask it. A day is longer
 * than a backup takes; a snapshot that is older was left behind.
 */
const FOREIGN_SNAPSHOT_IS_STALE_AFTER_MS = 24 * 60 * 60 * 1000;

/** What `nodeName` is for a backup by hand. No node can be called this. */
export const BY_HAND = '(by hand)';

export function snapshotName(jobId: string): string {
  const name = `${PREFIX}${jobId}`;
  return name.length <= MAX_NAME_LENGTH ? name : `${PREFIX}${slug(jobId)}`;
}

export function snapshotDescription(jobId: string, nodeName: string): string {
  return `Sendense backup, job ${jobId}, node ${nodeName}. Removed when the backup ends; do not revert to it.`;
}

/** Whether Sendense made this snapshot: both its name and its description say so. */
export function isOurs(snapshot: Pick<Snapshot, 'name' | 'description'>): boolean {
  return snapshot.name.startsWith(PREFIX) && snapshot.description.startsWith('Sendense');
}

/** Whether this is the snapshot of a job. */
export function isOfJob(snapshot: Pick<Snapshot, 'name' | 'description'>, jobId: string): boolean {
  return isOurs(snapshot) && snapshot.name === snapshotName(jobId);
}

export interface SweepRule {
  readonly nodeName: string;
  /** Jobs that run now: their snapshots are in use. Asked anew for each snapshot, because jobs begin meanwhile. */
  readonly runningJobs: () => readonly string[];
  readonly now: Date;
}

/** Whether a snapshot was left behind by a backup that is over. Never true of a snapshot that is not ours. */
export function isStale(snapshot: Snapshot, { nodeName, runningJobs, now }: SweepRule): boolean {
  if (!isOurs(snapshot)) return false;
  if (runningJobs().some((jobId) => snapshotName(jobId) === snapshot.name)) return false;
  if (snapshot.description.includes(`, node ${nodeName}. `)) return nodeName !== BY_HAND;
  return now.getTime() - snapshot.createdAt.getTime() > FOREIGN_SNAPSHOT_IS_STALE_AFTER_MS;
}
