export interface MergeRequest {
  /** That the image of the point to be removed occupies. */
  readonly parentStoredBytes: number;
  /** That the image of the point which stays occupies. */
  readonly childStoredBytes: number;
  /** The point to be removed is a full for this disk. */
  readonly parentIsFull: boolean;
  /** Where the images are. */
  readonly freeBytes: number;
}

export interface MergePlan {
  /** `commit`: the child's data goes into the parent's image. `pull`: the parent's data goes into the child's image. */
  readonly method: 'commit' | 'pull';
  /** At most. */
  readonly bytesToCopy: number;
  /** What must be free before it starts. */
  readonly bytesNeeded: number;
  readonly fits: boolean;
}

/** A hash of 16 bytes for each 64 KiB. */
const BYTES_PER_HASH_BYTE = 4096;
/** For the manifests, and for tables of QCOW2 that grow. */
const RESERVE_BYTES = 1024 * 1024;

/**
 * How two neighbouring images of a chain become one: whatever copies less. Both keep what they read until they are done,
 * so what is copied must fit beside it, and the cheaper way is also the one that needs less room. At equal cost a full is
 * committed into, so that it stays the file it is; with an increment the pull wins, because it can still be cancelled.
 */
export function planMerge(request: MergeRequest): MergePlan {
  const { parentStoredBytes, childStoredBytes, parentIsFull, freeBytes } = request;
  const pull = parentIsFull ? parentStoredBytes < childStoredBytes : parentStoredBytes <= childStoredBytes;
  const bytesToCopy = pull ? parentStoredBytes : childStoredBytes;
  const hashesBytes = Math.ceil((parentStoredBytes + childStoredBytes) / BYTES_PER_HASH_BYTE);
  const bytesNeeded = bytesToCopy + hashesBytes + RESERVE_BYTES;
  return { method: pull ? 'pull' : 'commit', bytesToCopy, bytesNeeded, fits: bytesNeeded <= freeBytes };
}
