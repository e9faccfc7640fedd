import type { LogLevel } from '@sendense/runtime';
import type { NbdAddress } from '@sendense/nbd';
import type { HubAddress } from '@sendense/tunnel';
import type { VddkConfig } from '../config.js';
import type { JobEventBody } from '../jobs/event-log.js';

/** Everything one backup needs. It holds secrets, so it travels over IPC and never through argv or environment. */
export interface JobSpec {
  readonly jobId: string;
  readonly nodeName: string;
  readonly vcenter: VCenterCredentials;
  readonly vm: { readonly moref: string; readonly instanceUuid: string; readonly name: string };
  readonly disks: readonly DiskSpec[];
  /** The VM must hold no other disk that could be backed up: one that was added meanwhile would be missed. */
  readonly everyDisk: boolean;
  readonly quiesce: boolean;
  readonly enableChangeTracking: boolean;
  /** Disks copied at the same time. */
  readonly parallelDisks: number;
  /** 0 is unlimited. */
  readonly rateLimitBytesPerSecond: number;
  /** Jobs whose snapshots must not be swept, this one not among them. */
  readonly runningJobs: readonly string[];
  readonly delivery: Delivery;
  /** Gets one `disk-<key>.hashes` per disk; undefined takes no hashes. */
  readonly hashesDirectory?: string;
  /** For nbdkit's sockets; exists, private, its path short. */
  readonly socketDirectory: string;
  readonly vddk: VddkConfig;
  /** The mark of child processes. */
  readonly owner: string;
}

/** A job as its agent keeps it, before it has its folders. */
export type SupervisedJob = Omit<JobSpec, 'hashesDirectory' | 'socketDirectory'>;

export interface VCenterCredentials {
  readonly endpoint: string;
  readonly username: string;
  readonly password: string;
  readonly thumbprint: string;
}

export interface DiskSpec {
  /** The vSphere device key. */
  readonly key: number;
  /** Undefined by hand, where nobody knows it beforehand. */
  readonly backingUuid?: string;
  readonly capacityBytes: number;
  /** Where the changes start; undefined takes a full. */
  readonly previousChangeId?: string;
  /** vCenter's record of changes is not asked for the areas in use either. @default false */
  readonly distrustChangeTracking?: boolean;
  /** Blocks to be checked where they did not change: ascending, inside the disk. */
  readonly auditBlocks?: readonly number[];
  readonly target: TargetSpec;
}

export interface TargetSpec {
  readonly address: NbdAddress;
  readonly exportName: string;
  /** A block of zeros must be written, never skipped. */
  readonly hasBacking: boolean;
  /** NBD connections to open. */
  readonly connections: number;
}

/** How the bytes reach the targets. */
export type Delivery =
  /** Straight to the address: by hand. */
  | { readonly kind: 'direct' }
  /** Through SSH connections to the hub; a target's port is one on the hub's loopback. */
  | {
      readonly kind: 'tunnel';
      readonly hub: HubAddress;
      readonly privateKeyPem: string;
      readonly lanes: number;
    };

/** From the agent to its backup client. */
export type AgentMessage =
  | { readonly type: 'start'; readonly spec: JobSpec; readonly logLevel: LogLevel }
  | { readonly type: 'stop'; readonly code: 'cancelled' | 'shutting_down'; readonly message: string };

/**
 * What a job is doing. While it creates or removes a snapshot, killing it would only leave that to somebody else.
 */
export type JobPhase = 'preparing' | 'creating_snapshot' | 'copying' | 'removing_snapshot' | 'ending';

/** From the backup client to its agent. The last event is `finished` or `failed`. */
export type ClientMessage =
  | { readonly type: 'phase'; readonly phase: JobPhase }
  | { readonly type: 'event'; readonly event: JobEventBody };
