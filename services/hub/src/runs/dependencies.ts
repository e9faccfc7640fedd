import type { Catalog } from '@sendense/catalog';
import type { Logger } from '@sendense/runtime';
import type { ChainLocks } from '../chains/locks.js';
import type { HubConfig } from '../config.js';
import type { NodeClient } from '../node-client.js';

/** A repository that can be written to now. */
export interface UsableRepository {
  readonly id: string;
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  /** Bytes that the hub's user may still write. */
  availableBytes(): Promise<number>;
}

/** The repositories, as the runs need them. */
export interface RepositoryAccess {
  /** @throws `repository_not_found` · `repository_missing` · `repository_not_writable` */
  usable(repositoryId: string): Promise<UsableRepository>;
}

/** The nodes, as the runs need them. It may be asked before the tunnel is up: no node is connected then. */
export interface NodeAccess {
  isConnected(nodeName: string): boolean;
  /** A client whose calls throw `node_offline` while the node is not connected. */
  client(nodeName: string): NodeClient;
  /** Closes the job's channels and lanes: its ports are about to belong to nobody. */
  revokeJob(jobId: string): Promise<void>;
}

/** How long things may take, in ms. */
export interface RunTiming {
  /** How long `start` may take to answer, targets up or not. */
  readonly answerMs: number;
  /**
   * No contact with the node for so long while it reads, and the backup fails with `node_lost`: data lanes do not survive
   * what cut the control connection for longer, so waiting would only delay the news.
   */
  readonly nodeLostMs: number;
  /** The same once everything is copied and only the block hashes are missing: worth more patience. */
  readonly nodeLostWhileSealingMs: number;
  /** A cancelled job's time on the node to remove its snapshot before the backup ends without waiting any longer. */
  readonly nodeCancelMs: number;
  readonly spaceCheckMs: number;
  /** How often a backup that waits for ports is tried again although none was given back: a stranger may have left one. */
  readonly portRetryMs: number;
  /** The reaper's first pause between two tries; it doubles up to {@link reaperMaxMs}. */
  readonly reaperMs: number;
  readonly reaperMaxMs: number;
}

export const DEFAULT_TIMING: RunTiming = {
  answerMs: 1_500,
  nodeLostMs: 8_000,
  nodeLostWhileSealingMs: 60_000,
  nodeCancelMs: 30_000,
  spaceCheckMs: 1_000,
  portRetryMs: 5_000,
  reaperMs: 5_000,
  reaperMaxMs: 600_000,
};

export interface BackupRunsDependencies {
  readonly catalog: Catalog;
  readonly nodes: NodeAccess;
  readonly repositories: RepositoryAccess;
  readonly locks: ChainLocks;
  readonly config: Pick<
    HubConfig,
    'nbdPorts' | 'limits' | 'qemuNbd' | 'qemuImg' | 'rateLimitBytesPerSecond' | 'cbtAuditBlocks'
  >;
  /** See ownerMark: on every child process. */
  readonly owner: string;
  /** Of the build, for the manifests: `0.1.0 (abc123)`. */
  readonly engine: string;
  readonly log: Logger;
  /** Called after each backup that completed, when its locks are free again. Must not reject. */
  readonly onCompleted?: (contextId: string, repositoryId: string) => Promise<void>;
  /** @default DEFAULT_TIMING */
  readonly timing?: Partial<RunTiming>;
}
