import type { BackupRecord, Catalog, RestorePointRecord } from '@sendense/catalog';
import { diskLayout, throwIfAborted, toSendenseError } from '@sendense/core';
import type { Manifest } from '../runs/manifest.js';
import type { UsableRepository } from '../runs/index.js';
import { manifestFile, publishedFile } from '../runs/run-files.js';
import { importedPoint, parentsFirst } from './rescan-import.js';
import { forgetMerged } from './rescan-merged.js';
import { contextFolders, scanContext, Tally, type ContextFiles, type Oddities } from './rescan-files.js';

/** What a rescan found and did. */
export interface RescanReport extends Oddities {
  /** Ids of points. */
  readonly added: Tally<string>;
  readonly known: Tally<string>;
  /** Of the catalogue, whose manifest or files are not in the repository. */
  readonly missing: Tally<string>;
  readonly removalsFinished: Tally<string>;
}

export interface RescanOptions {
  readonly repository: UsableRepository;
  readonly catalog: Catalog;
  readonly signal: AbortSignal;
  /** Keeps the chain of a VM from changing while it is looked at. */
  readonly lock: (contextId: string) => Promise<AsyncDisposable>;
  /** Finishes the removal of a point that somebody decided on and did not finish. */
  readonly finishRemoval: (point: RestorePointRecord) => Promise<void>;
}

/**
 * Makes the catalogue agree with what lies in the repository: points whose manifest it does not know are added, points
 * whose files are gone are reported and marked as suspect, and points that others have taken over since are forgotten.
 * Nothing in the repository is deleted and nothing invented; files that no manifest names are only reported.
 *
 * @throws the signal's reason, `repository_missing` and others that concern the repository as a whole
 */
export async function rescan(options: RescanOptions): Promise<RescanReport> {
  const { repository, catalog, signal } = options;
  const report: RescanReport = {
    ...{ strangers: new Tally(), partial: new Tally(), damaged: new Tally() },
    ...{ added: new Tally(), known: new Tally(), missing: new Tally(), removalsFinished: new Tally() },
  };
  const seen = new Set<string>();
  for await (const contextId of contextFolders(repository.path, report)) {
    throwIfAborted(signal);
    seen.add(contextId);
    await rescanContext(contextId, report, options);
  }
  // Those of which not even the folder is left.
  for (const contextId of await catalog.restorePoints.contextsIn(repository.id))
    if (!seen.has(contextId)) await rescanContext(contextId, report, options);
  return report;
}

async function rescanContext(contextId: string, report: RescanReport, options: RescanOptions): Promise<void> {
  const { repository, catalog, signal } = options;
  const removing: string[] = [];
  {
    await using _ = await options.lock(contextId);
    // The catalogue first: a backup that is sealed while files are looked at is found by its manifest, not missed.
    const known = await catalog.restorePoints.ofContext(contextId, repository.id);
    const running = (await catalog.backups.active()).filter((backup) => backup.contextId === contextId);
    const limits = { expected: new Set(running.flatMap(partialFiles)), signal };
    const files = await scanContext(repository, contextId, report, limits);
    await addUnknown(files, known, running, report, options);
    const gone = await forgetMerged(files, known, options);
    for (const id of gone) report.removalsFinished.add(id);
    await compareKnown(files, await stillKnown(known, catalog), report, options);
    removing.push(...files.removing.keys());
  }
  // A removal needs the chain for itself.
  for (const id of removing) await finishRemoval(id, report, options);
}

/** As they are by now; what was added meanwhile is not among them. */
async function stillKnown(
  known: readonly RestorePointRecord[],
  catalog: Catalog,
): Promise<RestorePointRecord[]> {
  const now = await Promise.all(known.map(({ id }) => catalog.restorePoints.find(id)));
  return now.filter((point) => point !== undefined);
}

async function finishRemoval(
  id: string,
  report: RescanReport,
  { catalog, signal, finishRemoval: finish }: RescanOptions,
): Promise<void> {
  const point = await catalog.restorePoints.find(id);
  // It could not be taken in: that has been reported.
  if (!point) return;
  try {
    await finish(point);
    report.removalsFinished.add(id);
  } catch (error) {
    throwIfAborted(signal);
    const reason = `its removal cannot be finished: ${toSendenseError(error).message}`;
    report.damaged.add({ path: point.manifestPath, reason });
  }
}

async function addUnknown(
  { manifests, removing, missing }: ContextFiles,
  known: readonly RestorePointRecord[],
  running: readonly BackupRecord[],
  report: RescanReport,
  { catalog, repository }: RescanOptions,
): Promise<void> {
  const ids = new Set([...known, ...running].map(({ id }) => id));
  // Points on one that is being removed may still name it: it is taken in too, until its removal is finished.
  const { ordered, orphans } = parentsFirst([...manifests.values(), ...removing.values()], ids);
  for (const { manifest, reason } of orphans) report.damaged.add({ path: pathOf(manifest), reason });
  for (const manifest of ordered) {
    const id = manifest.backup_id;
    // Sealed since the catalogue was read.
    if ((await catalog.restorePoints.find(id)) !== undefined) continue;
    try {
      await catalog.restorePoints.importPoint(importedPoint(manifest, repository.id));
      if (!removing.has(id)) report.added.add(id);
    } catch (error) {
      report.damaged.add({ path: pathOf(manifest), reason: toSendenseError(error).message });
      continue;
    }
    const gone = missing.get(id);
    if (gone === undefined) continue;
    report.damaged.add({
      path: pathOf(manifest),
      reason: `it names files that are not there: ${gone.join(', ')}`,
    });
    await doubt(catalog, id, gone);
  }
  for (const id of removing.keys())
    if ((await catalog.restorePoints.find(id)) !== undefined) await catalog.restorePoints.beginRemoval(id);
}

async function compareKnown(
  { manifests, removing, missing }: ContextFiles,
  known: readonly RestorePointRecord[],
  report: RescanReport,
  { catalog, repository }: RescanOptions,
): Promise<void> {
  const isBeingRemoved = ({ id, state }: RestorePointRecord) => state !== 'sealed' || removing.has(id);
  const gone = known.flatMap((point) => {
    if (isBeingRemoved(point)) return [];
    const manifest = manifests.get(point.id);
    const files = manifest ? missing.get(point.id) : [point.manifestPath];
    return files ? [{ point, files }] : [];
  });
  // Everything is missing in the empty mount point of a repository that was unmounted meanwhile.
  if (gone.length > 0) await repository.availableBytes();
  for (const { point, files } of gone) {
    report.missing.add(point.id);
    await doubt(catalog, point.id, files);
  }
  const isGone = new Set(gone.map(({ point }) => point.id));
  for (const point of known) {
    if (isBeingRemoved(point) || isGone.has(point.id)) continue;
    report.known.add(point.id);
    const manifest = manifests.get(point.id);
    if (manifest && !saysTheSame(manifest, point))
      report.damaged.add({ path: pathOf(manifest), reason: 'its disks are not those of the catalogue' });
  }
}

async function doubt(catalog: Catalog, id: string, gone: readonly string[]): Promise<void> {
  await catalog.restorePoints.markSuspect([id], `a rescan did not find ${gone.join(', ')}`);
}

export function saysTheSame({ disks }: Manifest, point: RestorePointRecord): boolean {
  return (
    disks.length === point.disks.length &&
    disks.every((disk) =>
      point.disks.some(
        (known) =>
          known.diskNumber === disk.disk_number &&
          known.imagePath === disk.image &&
          known.parentPointId === disk.parent?.backup_id,
      ),
    )
  );
}

/** Where a backup that runs writes, relative to the repository. */
function partialFiles({ id, contextId, vmName, disks }: BackupRecord): string[] {
  const layouts = disks.map(({ diskNumber }) =>
    diskLayout({ contextId, vmName, backupId: id, number: diskNumber }),
  );
  const files = layouts.flatMap(({ imagePath, hashesPath }) => [
    publishedFile(imagePath),
    publishedFile(hashesPath),
  ]);
  return [...files, manifestFile('', { contextId, id })].map(({ partial }) => partial);
}

function pathOf({ context_id, backup_id }: Manifest): string {
  return `${context_id}/manifests/${backup_id}.json`;
}
