import type { ImportedPoint } from '@sendense/catalog';
import { manifestPath } from '@sendense/core';
import type { Manifest } from '../runs/manifest.js';

/** A manifest for the catalogue. @param repositoryId where it was found, whatever it says: it may have been moved */
export function importedPoint(manifest: Manifest, repositoryId: string): ImportedPoint {
  const { backup_id: id, context_id: contextId, vm, disks } = manifest;
  return {
    id,
    contextId,
    repositoryId,
    vm: {
      name: vm.name,
      instanceUuid: vm.instance_uuid,
      moref: vm.moref,
      guestFullName: vm.guest_full_name,
    },
    takenAt: new Date(manifest.taken_at),
    sealedAt: new Date(manifest.sealed_at),
    quiesced: manifest.quiesce.done,
    manifestPath: manifestPath(contextId, id),
    disks: disks.map((disk) => ({
      diskId: disk.disk_id,
      diskNumber: disk.disk_number,
      diskKey: disk.disk_key,
      label: disk.label,
      backingUuid: disk.backing_uuid,
      backingFile: disk.backing_file,
      capacityBytes: disk.capacity_bytes,
      backupType: disk.backup_type,
      reason: disk.reason,
      imagePath: disk.image,
      hashesPath: disk.hashes,
      ...(disk.change_id === null ? {} : { changeId: disk.change_id }),
      ...(disk.parent ? { parentPointId: disk.parent.backup_id } : {}),
      bytesRead: disk.bytes_read,
      storedBytes: disk.stored_bytes,
    })),
  };
}

export interface Order {
  /** Those that are not known yet, each after everything that it builds on. */
  readonly ordered: readonly Manifest[];
  /** Those that build on what is not there. */
  readonly orphans: readonly { readonly manifest: Manifest; readonly reason: string }[];
}

/**
 * In which order points can be taken in.
 *
 * @param manifests all of a VM
 * @param known the points that the catalogue has
 */
export function parentsFirst(manifests: readonly Manifest[], known: ReadonlySet<string>): Order {
  const byId = new Map(manifests.map((manifest) => [manifest.backup_id, manifest]));
  const done = new Set(known);
  const ordered: Manifest[] = [];
  // Parents are older as a rule: one round is enough then.
  let waiting = manifests
    .filter(({ backup_id }) => !known.has(backup_id))
    .toSorted((a, b) => Date.parse(a.taken_at) - Date.parse(b.taken_at));
  for (let before = -1; before !== waiting.length;) {
    before = waiting.length;
    waiting = waiting.filter((manifest) => {
      const ready = parentsOf(manifest).every(
        ({ id, number, image }) => done.has(id) && imageOf(byId.get(id), number, image) === image,
      );
      if (ready) ordered.push(manifest);
      if (ready) done.add(manifest.backup_id);
      return !ready;
    });
  }
  return {
    ordered,
    orphans: waiting.map((manifest) => ({ manifest, reason: whyOrphan(manifest, byId, done) })),
  };
}

interface Parent {
  readonly id: string;
  readonly number: number;
  readonly image: string;
}

function parentsOf({ disks }: Manifest): Parent[] {
  return disks.flatMap(({ disk_number: number, parent }) =>
    parent ? [{ id: parent.backup_id, number, image: parent.image }] : [],
  );
}

/** What the parent calls its image of this disk; a parent whose manifest is lost is believed. */
function imageOf(parent: Manifest | undefined, number: number, otherwise: string): string | undefined {
  return parent ? parent.disks.find(({ disk_number }) => disk_number === number)?.image : otherwise;
}

function whyOrphan(
  manifest: Manifest,
  byId: ReadonlyMap<string, Manifest>,
  done: ReadonlySet<string>,
): string {
  for (const { id, number, image } of parentsOf(manifest)) {
    if (!byId.has(id) && !done.has(id)) return `its disk ${number} builds on ${id}, which has no manifest`;
    const found = imageOf(byId.get(id), number, image);
    if (found !== image)
      return `its disk ${number} builds on ${image}, and ${id} has ${found ?? 'no such disk'}`;
    if (!done.has(id)) return `its disk ${number} builds on ${id}, which cannot be taken in`;
  }
  return 'it builds on nothing that is there';
}
