import type { SendenseError } from '@sendense/core';
import type { Marker } from './marker.js';

/** Where a repository lies, as the catalogue keeps it. */
export interface RepositoryPlace {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  /** Absolute and real (without symbolic links) at the time it was added. */
  readonly path: string;
}

/** Of the file system that the repository is on. */
export interface RepositorySpace {
  readonly totalBytes: number;
  readonly usedBytes: number;
  /** What the hub's user may still write; less than total minus used where blocks are reserved for root. */
  readonly availableBytes: number;
}

/** Whether a backup could go there now, and if not, why and what to do. */
export type RepositoryStatus =
  | { readonly available: true; readonly space: RepositorySpace }
  | { readonly available: false; readonly problem: SendenseError; readonly space?: RepositorySpace };

export interface ClaimOptions {
  /** Also when another hub has left its mark there. @default false */
  readonly takeOver?: boolean;
}

/**
 * One kind of place for backups, seen as a directory once it is there. Local directories now; mounted NFS and others join
 * by implementing this and passing the same contract tests.
 */
export interface RepositoryType {
  readonly type: string;
  /**
   * The real path of a directory that is to become a repository.
   *
   * @throws `repository_missing`, `repository_not_writable`, `invalid_argument`: each says what to do
   */
  resolve(path: string): Promise<string>;
  /** Whose mark the place carries; undefined when it has none. @throws `manifest_invalid` when it cannot be understood */
  markAt(path: string): Promise<Marker | undefined>;
  /** Leaves the mark by which {@link check} recognises the place. @throws `repository_in_use` when it carries another's mark */
  claim(place: RepositoryPlace, hubId: string, o?: ClaimOptions): Promise<void>;
  /** Takes the mark away, if it is there. */
  release(place: RepositoryPlace): Promise<void>;
  /** Looks at the place as it is now. Never throws. */
  check(place: RepositoryPlace): Promise<RepositoryStatus>;
}
