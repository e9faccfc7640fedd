import type { Catalog, RestorePointRecord } from '@sendense/catalog';
import { SendenseError, throwIfAborted, toSendenseError } from '@sendense/core';
import type { QemuImg } from '@sendense/qemu';
import type { RepositoryAccess, UsableRepository } from '../runs/dependencies.js';
import type { Manifest, ManifestRemoval } from '../runs/manifest.js';
import type { TaskContext } from '../tasks/types.js';
import { commit, mergeHashes, pull, replaceChild, takeBackPull, type DiskMerge } from './merge-disk.js';
import { reasonOf } from './remove-failure.js';
import { mergedPoints, removePointFiles, rewriteChild } from './remove-files.js';
import { inspectChildren, inspectImages } from './remove-inspect.js';
import {
  listManifests,
  readOwnManifest,
  removeManifests,
  renameManifest,
  writeManifest,
  writeRemoving,
  type ManifestFolder,
} from './remove-manifests.js';
import { diskMerges, planRemoval } from './remove-plan.js';

export interface RemovalPorts {
  readonly catalog: Pick<Catalog, 'restorePoints'>;
  readonly repositories: RepositoryAccess;
  readonly images: QemuImg;
}

export interface RemovalWork extends Pick<TaskContext, 'signal' | 'log' | 'progress' | 'commit'> {
  /** Told before each step; for tests that end there. */
  readonly onStep?: (step: string) => void | Promise<void>;
}

/** What a removal did, as it is stored with its task. */
export interface RemovedPoint {
  readonly restore_point_id: string;
  /** The points that took its data over. */
  readonly merged_into: readonly string[];
  /** Between images, at most. */
  readonly bytes_merged: number;
}

/** A merge with what it copies, for the progress. */
type PlannedMerge = DiskMerge & { readonly bytes: number };

/** Something that may be done again at any time until the steps after it are done. */
interface Step {
  readonly name: string;
  readonly run: () => Promise<void>;
}

/**
 * Removes a restore point; the points on it take its data over and show what they showed before. The caller holds the
 * exclusive lock of the chain.
 *
 * From the renaming of its manifest on it is no restore point any more. The steps are done in order, each may be done
 * again, so a removal that was interrupted, however, is finished by calling this again. Removals of this chain that were
 * not finished are finished first: this one may depend on what they leave.
 *
 * A cancelled or failed removal is taken back, unless it has come to where images or files are lost: then it goes on when
 * it was cancelled, and waits for the next call when it failed. One that the hub's stop interrupts stays as it is.
 *
 * @throws `not_found` · `restore_point_held` · `restore_point_suspect` · `chain_busy` · `chain_damaged` ·
 *   `repository_full` · `repository_missing` · `cancelled` · `shutting_down` · …
 */
export async function removePoint(
  pointId: string,
  ports: RemovalPorts,
  work: RemovalWork,
): Promise<RemovedPoint> {
  const { restorePoints } = ports.catalog;
  const { contextId, repositoryId } = await restorePoints.get(pointId);
  const repository = await ports.repositories.usable(repositoryId);
  const chain = await restorePoints.ofContext(contextId, repositoryId);
  for (const other of chain)
    if (other.state === 'removing' && other.id !== pointId) {
      work.log.warn({ restorePointId: other.id }, 'an earlier removal of this chain is finished first');
      await new Removal(other, repository, ports, work).run();
    }
  // What was finished first may have been merged into this one.
  return new Removal(await restorePoints.get(pointId), repository, ports, work).run();
}

class Removal {
  readonly #folder: ManifestFolder;
  readonly #stop = new AbortController();
  #manifest: Manifest | undefined;
  #plan: ManifestRemoval = { irreversible: false, merges: [] };
  #merges: readonly PlannedMerge[] = [];
  /** The catalogue says that it is being removed. */
  #begun = false;
  /** Images may have changed. */
  #planned = false;
  #bytesDone = 0;

  constructor(
    private readonly point: RestorePointRecord,
    private readonly repository: UsableRepository,
    private readonly ports: RemovalPorts,
    private readonly work: RemovalWork,
  ) {
    this.#folder = { repositoryPath: repository.path, contextId: point.contextId };
    this.#begun = point.state === 'removing';
  }

  async run(): Promise<RemovedPoint> {
    const { signal } = this.work;
    const listen = () => this.#asked();
    signal.addEventListener('abort', listen);
    try {
      await this.#decide();
      this.#asked();
      for (const step of this.#steps()) {
        throwIfAborted(this.#stop.signal);
        await this.work.onStep?.(step.name);
        await step.run();
      }
    } catch (thrown) {
      throw await this.#failed(toSendenseError(thrown));
    } finally {
      signal.removeEventListener('abort', listen);
    }
    const { merges } = this.#plan;
    const merged = [...new Set(merges.map(({ child_id }) => child_id))];
    this.work.log.info({ restorePointId: this.point.id, merged }, 'restore point removed');
    return { restore_point_id: this.point.id, merged_into: merged, bytes_merged: sum(merges) };
  }

  /** The hub's stop ends it anywhere; anybody else only where it can be taken back. */
  #asked(): void {
    const { signal } = this.work;
    if (!signal.aborted) return;
    const stops = toSendenseError(signal.reason).code === 'shutting_down';
    if (stops || !this.#plan.irreversible) this.#stop.abort(signal.reason);
  }

  /** What is there is taken up; otherwise it is looked at, planned, and decided. */
  async #decide(): Promise<void> {
    const { point, repository, ports, work } = this;
    const own = await readOwnManifest(this.#folder, point.id);
    this.#manifest = own?.manifest;
    if (own?.manifest?.removal) {
      this.#plan = own.manifest.removal;
      this.#planned = true;
      if (this.#plan.irreversible) work.commit(FORWARD_ONLY);
      this.#merges = await this.#openMerges();
      // A catalogue that is older than the repository may not know of the decision.
      if (!this.#begun) await ports.catalog.restorePoints.beginRemoval(point.id);
      this.#begun = true;
      return;
    }
    // Everything of it is gone but its place in the catalogue.
    if (point.state === 'removing' && !own) return;
    this.#asked();
    throwIfAborted(this.#stop.signal);
    const children = await inspectChildren(point, own?.manifest, this.#folder, ports.catalog);
    if (own?.manifest) this.#plan = await planRemoval(own.manifest, children, repository);
    this.#merges = await this.#openMerges();
    if (this.#manifest) await inspectImages(this.#manifest, this.#merges, ports.images);
    await work.onStep?.('decide');
    await ports.catalog.restorePoints.beginRemoval(point.id);
    this.#begun = true;
    await work.onStep?.('rename manifest');
    await renameManifest(this.#folder, point.id, 'removing');
    work.log.info({ restorePointId: point.id, merges: this.#plan.merges }, 'removal decided');
    await work.onStep?.('write plan');
    this.#planned = true;
    await this.#writePlan();
  }

  async #openMerges(): Promise<PlannedMerge[]> {
    if (!this.#manifest) return [];
    const { sealed } = await listManifests(this.#folder);
    const open = diskMerges(this.repository.path, this.#manifest, sealed, this.#plan);
    this.#bytesDone = sum(this.#plan.merges) - sum(open);
    return open;
  }

  /** Pulls come first, because they can be taken back. */
  #steps(): Step[] {
    const { point, ports } = this;
    const pulls = this.#merges.filter(({ method }) => method === 'pull');
    const commits = this.#merges.filter(({ method }) => method === 'commit');
    const children = new Set(this.#merges.map(({ child }) => child.pointId));
    const files = point.disks.flatMap(({ imagePath, hashesPath }) => [imagePath, hashesPath ?? []].flat());
    return [
      ...pulls.flatMap((merge) => [
        this.#merge('hashes', merge, () => mergeHashes(merge, this.#stop.signal)),
        this.#merge('pull', merge, () => this.#copy(merge, pull)),
      ]),
      { name: 'go forward only', run: () => this.#goForwardOnly() },
      ...commits.flatMap((merge) => [
        this.#merge('hashes', merge, () => mergeHashes(merge, this.#stop.signal)),
        this.#merge('commit', merge, () => this.#copy(merge, commit)),
        this.#merge('replace', merge, () => replaceChild(merge, ports.images)),
      ]),
      ...[...children].map((id) => ({ name: `manifest of ${id}`, run: () => this.#rewrite(id) })),
      { name: 'files', run: () => removePointFiles(this.#folder, point.id, files) },
      { name: 'remove manifest', run: () => removeManifests(this.#folder, point.id) },
      { name: 'catalogue', run: () => this.#conclude() },
    ];
  }

  #merge(what: string, { diskNumber, child }: DiskMerge, run: () => Promise<void>): Step {
    return { name: `${what} disk ${diskNumber} of ${child.pointId}`, run };
  }

  async #copy(merge: PlannedMerge, copy: typeof pull): Promise<void> {
    const total = sum(this.#plan.merges);
    const onProgress = (percent: number) =>
      this.work.progress(this.#bytesDone + Math.floor((merge.bytes * percent) / 100), total);
    onProgress(0);
    await copy(merge, { images: this.ports.images, signal: this.#stop.signal, onProgress });
    this.#bytesDone += merge.bytes;
    this.work.progress(this.#bytesDone, total);
    const { method, diskNumber, child, bytes } = merge;
    this.work.log.info({ method, diskNumber, into: child.pointId, bytes }, 'disk merged');
  }

  async #goForwardOnly(): Promise<void> {
    this.work.commit(FORWARD_ONLY);
    throwIfAborted(this.#stop.signal);
    this.#plan = { ...this.#plan, irreversible: true };
    await this.#writePlan();
  }

  async #writePlan(): Promise<void> {
    if (!this.#manifest) return;
    this.#manifest = { ...this.#manifest, removal: this.#plan };
    await writeRemoving(this.#folder, this.#manifest);
  }

  async #rewrite(childId: string): Promise<void> {
    if (this.#manifest) await rewriteChild(this.#folder, childId, this.#manifest, new Date());
  }

  async #conclude(): Promise<void> {
    const { restorePoints } = this.ports.catalog;
    // In an empty mount point there was nothing to remove: all of it would be back with the file system.
    await this.ports.repositories.usable(this.repository.id);
    const children = await mergedPoints(this.#folder, this.point.id, this.ports.catalog);
    await restorePoints.concludeRemoval(this.point.id, children);
  }

  /** @returns what is to be thrown: the first error, with what it means for the removal */
  async #failed(thrown: SendenseError): Promise<SendenseError> {
    const { point, work, repository, ports } = this;
    if (thrown.code === 'shutting_down') return thrown;
    const error = await reasonOf(thrown, repository, ports.repositories);
    if (!this.#begun) return error;
    if (this.#plan.irreversible) {
      const what = `${error.message}. The removal of ${point.id} has to be finished and nothing is lost: when that is put right, remove it again, and it goes on where it stopped`;
      const context = { ...error.context, restore_point_id: point.id };
      return new SendenseError(error.code, what, { context, cause: thrown });
    }
    try {
      await this.#takeBack();
      work.log.info({ restorePointId: point.id }, 'the removal was taken back');
    } catch (failure) {
      const { code, message } = toSendenseError(failure);
      work.log.error({ restorePointId: point.id, code, error: message }, 'a removal could not be taken back');
    }
    return error;
  }

  async #takeBack(): Promise<void> {
    for (const merge of this.#planned ? this.#merges : []) await takeBackPull(merge, this.ports.images);
    await renameManifest(this.#folder, this.point.id, 'sealed');
    await this.ports.catalog.restorePoints.cancelRemoval(this.point.id);
    await this.#forgetPlan();
  }

  /** What stays of it when nothing can be written is passed over: a plan counts in a manifest of a removal alone. */
  async #forgetPlan(): Promise<void> {
    if (!this.#manifest || !this.#planned) return;
    const { removal: _, ...sealed } = this.#manifest;
    try {
      await writeManifest(this.#folder, sealed);
    } catch (error) {
      const { code, message } = toSendenseError(error);
      this.work.log.warn({ code, error: message }, 'the plan of a removal stays in a manifest');
    }
  }
}

const FORWARD_ONLY =
  'images of the chain are being merged, or files are gone, and only finishing that is safe';

function sum(parts: readonly { readonly bytes: number }[]): number {
  return parts.reduce((total, { bytes }) => total + bytes, 0);
}
