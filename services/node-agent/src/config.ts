import { realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  choice,
  integer,
  optionalText,
  readSettings,
  text,
  type LogLevel,
  type SettingsOf,
} from '@sendense/runtime';
import { checkSocketPath } from './unix-socket.js';

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;

/** What reading a VMware disk needs. */
export const vddkSettings = {
  SENDENSE_NBDKIT: text('command', 'nbdkit'),
  SENDENSE_NBDKIT_VDDK_PLUGIN: text("name or path of nbdkit's vddk plugin", 'vddk'),
  SENDENSE_VDDK_LIBDIR: optionalText('folder of VMware VDDK (holds lib64/libvixDiskLib.so.*)'),
  SENDENSE_VDDK_TRANSPORTS: optionalText('VDDK transports in order, nbdssl:nbd; VDDK decides when not set'),
};

/** Everything that can be set, with what is taken when it is not. `sendense-node --help` prints this table. */
export const nodeSettings = {
  SENDENSE_CONFIG_FILE: optionalText('a file of KEY=value lines; the environment wins over it'),
  SENDENSE_DATA_DIR: text('enrolment, key, block hashes of jobs', '/var/lib/sendense-node'),
  SENDENSE_RUNTIME_DIR: text('sockets', '/run/sendense-node'),
  SENDENSE_LOG_LEVEL: choice<LogLevel>('how much is logged', 'info', LOG_LEVELS),
  SENDENSE_STOP_SECONDS: integer('what stopping may take before the process ends anyway', 80, 1, 3600),
  ...vddkSettings,
  SENDENSE_LANES: integer('SSH connections that each backup opens to the hub', 4, 1, 16),
  SENDENSE_PARALLEL_DISKS: integer('disks of one backup copied at the same time', 4, 1, 64),
};

/** Settings of the other programs: one environment may serve them all. */
const OTHERS_SETTINGS = [
  'SENDENSE_OWNER',
  'SENDENSE_TOOLS_DIR',
  'SENDENSE_API_LISTEN',
  'SENDENSE_TUNNEL_LISTEN',
  'SENDENSE_TUNNEL_WORKERS',
  'SENDENSE_NBD_PORTS',
  'SENDENSE_DATABASE_URL',
  'SENDENSE_DATABASE_PASSWORD_FILE',
  'SENDENSE_QEMU_NBD',
  'SENDENSE_QEMU_IMG',
  'SENDENSE_MAX_BACKUPS',
  'SENDENSE_MAX_BACKUPS_PER_NODE',
  'SENDENSE_MAX_BACKUPS_PER_HOST',
  'SENDENSE_MAX_BACKUPS_PER_DATASTORE',
  'SENDENSE_RATE_LIMIT',
  'SENDENSE_URL',
  'SENDENSE_TOKEN',
];

/** How VMware disks are read on this machine. */
export interface VddkConfig {
  readonly nbdkit: string;
  /** Name or path of nbdkit's vddk plugin. */
  readonly nbdkitVddkPlugin: string;
  /** The folder of VMware's VDDK; undefined lets the plugin use its own default. */
  readonly vddkLibdir?: string;
  /** VDDK transports, `nbdssl:nbd`; undefined is VDDK's own order. */
  readonly vddkTransports?: string;
}

/** How one node runs. {@link readNodeConfig} makes it of the environment; tests make their own. */
export interface NodeConfig extends VddkConfig {
  /** Enrolment, key and hashes of the jobs; one process per directory. Absolute. */
  readonly dataDirectory: string;
  /** Holds `node.sock` and the sockets of nbdkit. Absolute, and short: see unix-socket.ts. */
  readonly runtimeDirectory: string;
  readonly logLevel: LogLevel;
  /** SSH connections that one backup opens to the hub. */
  readonly lanes: number;
  /** Disks of one backup copied at the same time, when the hub does not say. */
  readonly parallelDisks: number;
  /** Added to the environment of the backup clients, and so of nbdkit. */
  readonly clientEnvironment?: Readonly<Record<string, string>>;
}

/** Of the program alone. */
export interface NodeProgramConfig extends NodeConfig {
  /** When it is over, the process ends with whatever it has not released yet. */
  readonly stopTimeoutMs: number;
}

/** @throws `invalid_config` naming every unknown name and invalid value */
export function readNodeConfig(env: NodeJS.ProcessEnv): NodeProgramConfig {
  const file = env['SENDENSE_CONFIG_FILE'];
  const settings = readSettings(nodeSettings, { env, ignore: OTHERS_SETTINGS, ...(file ? { file } : {}) });
  const runtimeDirectory = resolve(settings.SENDENSE_RUNTIME_DIR);
  checkSocketPath(nodeSocketPath(runtimeDirectory), 'SENDENSE_RUNTIME_DIR');
  return {
    dataDirectory: resolve(settings.SENDENSE_DATA_DIR),
    runtimeDirectory,
    logLevel: settings.SENDENSE_LOG_LEVEL,
    ...vddkConfig(settings),
    lanes: settings.SENDENSE_LANES,
    parallelDisks: settings.SENDENSE_PARALLEL_DISKS,
    stopTimeoutMs: settings.SENDENSE_STOP_SECONDS * 1000,
  };
}

/** For the backup client by hand, which needs none of the node's own settings. @throws `invalid_config` */
export function readVddkConfig(env: NodeJS.ProcessEnv): VddkConfig {
  const file = env['SENDENSE_CONFIG_FILE'];
  const own = Object.keys(nodeSettings).filter((name) => !Object.hasOwn(vddkSettings, name));
  const ignore = [...OTHERS_SETTINGS, ...own];
  return vddkConfig(readSettings(vddkSettings, { env, ignore, ...(file ? { file } : {}) }));
}

function vddkConfig(settings: SettingsOf<typeof vddkSettings>): VddkConfig {
  return {
    nbdkit: settings.SENDENSE_NBDKIT,
    nbdkitVddkPlugin: settings.SENDENSE_NBDKIT_VDDK_PLUGIN,
    ...(settings.SENDENSE_VDDK_LIBDIR ? { vddkLibdir: settings.SENDENSE_VDDK_LIBDIR } : {}),
    ...(settings.SENDENSE_VDDK_TRANSPORTS ? { vddkTransports: settings.SENDENSE_VDDK_TRANSPORTS } : {}),
  };
}

/** The gRPC socket. */
export function nodeSocketPath(runtimeDirectory: string): string {
  return join(runtimeDirectory, 'node.sock');
}

/** Where the backup clients keep the compiled form of their code from one job to the next. */
export function compiledCodeDirectory(runtimeDirectory: string): string {
  return join(runtimeDirectory, 'compiled');
}

/** Where a job's block hashes are written, one `disk-<key>.hashes` per disk. */
export function jobDirectory(dataDirectory: string, jobId: string): string {
  return join(dataDirectory, 'jobs', jobId);
}

/** The `.hashes` file of one disk, in its job's folder. */
export function hashesPath(directory: string, diskKey: number): string {
  return join(directory, `disk-${diskKey}.hashes`);
}

/** The mark of this node's child processes, by which the next start finds what a killed one left behind. */
export function ownerMark(dataDirectory: string): string {
  return `node:${realpathSync(dataDirectory)}`;
}
