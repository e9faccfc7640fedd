import type { LogLevel } from '@sendense/runtime';

/** How one node runs. `readNodeConfig` makes it of the environment; tests make their own. */
export interface NodeConfig {
  /** Enrolment, key and hashes of the jobs; one process per directory. */
  readonly dataDirectory: string;
  /** Holds `node.sock` and the sockets of nbdkit. */
  readonly runtimeDirectory: string;
  readonly logLevel: LogLevel;
  readonly nbdkit: string;
  /** Name or path of nbdkit's vddk plugin. */
  readonly nbdkitVddkPlugin: string;
  /** The folder of VMware's VDDK; undefined lets the plugin use its own default. */
  readonly vddkLibdir?: string;
  /** VDDK transports, `nbdssl:nbd`; undefined is VDDK's own order. */
  readonly vddkTransports?: string;
  /** SSH connections that one backup opens to the hub. */
  readonly lanes: number;
  /** Disks of one backup copied at the same time, when the hub does not say. */
  readonly parallelDisks: number;
  /** Added to the environment of the backup clients, and so of nbdkit. */
  readonly clientEnvironment?: Readonly<Record<string, string>>;
}
