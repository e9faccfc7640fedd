import type { RestorePointRecord } from '@sendense/catalog';
import { planMerge } from '@sendense/core';

/** What it takes to remove one point, all disks together. */
export interface RemovalCost {
  readonly pointId: string;
  /** `drop`: nothing builds on it. Otherwise which way its data goes into the next point, per disk. */
  readonly methods: readonly ('drop' | 'commit' | 'pull')[];
  /** Written into the repository, at most. */
  readonly bytesToCopy: number;
  /** Given back afterwards, at most: what two images both hold is only known once they are merged. */
  readonly bytesFreed: number;
  /** Whether the repository has the room now. */
  readonly fits: boolean;
}

interface Image {
  readonly diskNumber: number;
  readonly isFull: boolean;
  readonly capacityBytes: number;
  parentPointId: string | undefined;
  storedBytes: number;
}

/**
 * What removing these points one after the other would cost. The sizes are those of the catalogue; a merged image is
 * taken to hold everything that both held.
 *
 * @param points all points of a VM in a repository
 * @param removed in the order of their removal
 */
export function removalCosts(
  points: readonly RestorePointRecord[],
  removed: readonly string[],
  availableBytes: number,
): RemovalCost[] {
  const images = new Map(points.map((point) => [point.id, imagesOf(point)]));
  let free = availableBytes;
  return removed.map((pointId) => {
    const own = images.get(pointId) ?? [];
    images.delete(pointId);
    const steps = own.map((image) => removeImage(image, pointId, images, free));
    const sum = (field: 'bytesToCopy' | 'bytesFreed') =>
      steps.reduce((total, step) => total + step[field], 0);
    free += sum('bytesFreed');
    return {
      pointId,
      methods: steps.map(({ method }) => method),
      bytesToCopy: sum('bytesToCopy'),
      bytesFreed: sum('bytesFreed'),
      fits: steps.every(({ fits }) => fits),
    };
  });
}

function imagesOf({ disks }: RestorePointRecord): Image[] {
  return disks.map(({ diskNumber, backupType, capacityBytes, parentPointId, storedBytes }) => ({
    ...{ diskNumber, capacityBytes, parentPointId, storedBytes },
    isFull: backupType === 'full',
  }));
}

/** Takes an image out of its chain: the images on it then hold its data too. */
function removeImage(
  image: Image,
  pointId: string,
  images: ReadonlyMap<string, Image[]>,
  freeBytes: number,
): Omit<RemovalCost, 'pointId' | 'methods'> & { readonly method: RemovalCost['methods'][number] } {
  const children = [...images.values()]
    .flat()
    .filter((other) => other.diskNumber === image.diskNumber && other.parentPointId === pointId);
  const total = {
    method: 'drop' as RemovalCost['methods'][number],
    bytesToCopy: 0,
    bytesFreed: 0,
    fits: true,
  };
  if (children.length === 0) return { ...total, bytesFreed: image.storedBytes };
  for (const child of children) {
    const { method, bytesToCopy, fits } = planMerge({
      parentStoredBytes: image.storedBytes,
      childStoredBytes: child.storedBytes,
      parentIsFull: image.isFull,
      freeBytes,
    });
    Object.assign(total, { method, bytesToCopy: total.bytesToCopy + bytesToCopy, fits: total.fits && fits });
    total.bytesFreed += Math.min(image.storedBytes, child.storedBytes);
    child.storedBytes = Math.min(
      image.storedBytes + child.storedBytes,
      Math.max(image.capacityBytes, child.storedBytes),
    );
    child.parentPointId = image.parentPointId;
  }
  return total;
}
