import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { mariaDbTarget, type MariaDbTarget } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import {
  choice,
  integer,
  listenAddress,
  optionalText,
  portRange,
  readSettings,
  text,
  type Listen,
  type LogLevel,
  type PortRange,
} from '@sendense/runtime';
import { parseWindow, type VerifySchedule } from './chains/schedule.js';

/** Everything that can be set, with what is taken when it is not. `sendense-hub --help` prints this table. */
export const hubSettings = {
  SENDENSE_CONFIG_FILE: optionalText('a file of KEY=value lines; the environment wins over it'),
  SENDENSE_API_LISTEN: listenAddress('HTTP API; loopback only until a token exists', {
    host: '127.0.0.1',
    port: 8082,
  }),
  SENDENSE_TUNNEL_LISTEN: listenAddress('SSH tunnel for the nodes', { host: '0.0.0.0', port: 443 }),
  SENDENSE_TUNNEL_WORKERS: integer(
    'processes that carry the tunnel',
    Math.max(1, Math.min(4, Math.floor(availableParallelism() / 2))),
    1,
    64,
  ),
  SENDENSE_NBD_PORTS: portRange('loopback ports for qemu-nbd, one per disk', { first: 10_100, last: 10_200 }),
  SENDENSE_DATA_DIR: text('catalogue, keys, lock', '/var/lib/sendense'),
  SENDENSE_DATABASE_URL: optionalText(
    'the catalogue on MariaDB: mysql://user@host:port/database; a file in the data directory if not given',
  ),
  SENDENSE_DATABASE_PASSWORD_FILE: optionalText('a file whose first line is its password'),
  SENDENSE_RUNTIME_DIR: text('sockets', '/run/sendense'),
  SENDENSE_EXPORT_DIR: optionalText(
    'where restore points are exported to, in folders of their own; no exports if not given',
  ),
  SENDENSE_LOG_LEVEL: choice('how much is logged', 'info', [
    'trace',
    'debug',
    'info',
    'warn',
    'error',
    'silent',
  ]),
  SENDENSE_STOP_SECONDS: integer('what stopping may take before the process ends anyway', 80, 1, 3600),
  SENDENSE_QEMU_NBD: text('command', 'qemu-nbd'),
  SENDENSE_QEMU_IMG: text('command', 'qemu-img'),
  SENDENSE_MAX_BACKUPS: integer('backups that run at the same time', 50, 1, 10_000),
  SENDENSE_MAX_BACKUPS_PER_NODE: integer('… of them on one node', 16, 1, 10_000),
  SENDENSE_MAX_BACKUPS_PER_HOST: integer('… of them on one ESXi host', 16, 1, 10_000),
  SENDENSE_MAX_BACKUPS_PER_DATASTORE: integer('… of them on one datastore', 16, 1, 10_000),
  SENDENSE_CBT_AUDIT_BLOCKS: integer(
    'blocks of each incremental disk that are read although they are said to be unchanged; 0 is none',
    64,
    0,
    4096,
  ),
  SENDENSE_MAX_TASKS: integer('verifications, removals, … that run at the same time', 2, 1, 100),
  SENDENSE_VERIFY_EVERY_DAYS: integer(
    'days after which a restore point is read in full again; 0 is never',
    30,
    0,
    36_500,
  ),
  SENDENSE_VERIFY_WINDOW: optionalText('when that may begin, local time: 22:00-06:00; always if not given'),
  SENDENSE_VERIFY_RATE_LIMIT: integer('bytes per second for it; 0 is unlimited', 50 * 1024 * 1024, 0, 1e15),
  SENDENSE_RATE_LIMIT: integer('bytes per second for each backup; 0 is unlimited', 0, 0, 1e15),
};

/** Settings of the other programs: one environment may serve them all. */
const OTHERS_SETTINGS = [
  'SENDENSE_OWNER',
  'SENDENSE_TOOLS_DIR',
  'SENDENSE_NBDKIT',
  'SENDENSE_NBDKIT_VDDK_PLUGIN',
  'SENDENSE_VDDK_LIBDIR',
  'SENDENSE_VDDK_TRANSPORTS',
  'SENDENSE_LANES',
  'SENDENSE_PARALLEL_DISKS',
  'SENDENSE_URL',
  'SENDENSE_TOKEN',
];

export interface HubConfig {
  readonly apiListen: Listen;
  readonly tunnelListen: Listen;
  readonly tunnelWorkers: number;
  readonly nbdPorts: PortRange;
  /** Absolute. */
  readonly dataDirectory: string;
  /** Where the catalogue is, unless it is a file in the data directory. */
  readonly database?: MariaDbTarget | undefined;
  /** Absolute; short enough for unix sockets below it. */
  readonly runtimeDirectory: string;
  /** Absolute; without it nothing can be exported. */
  readonly exportDirectory?: string | undefined;
  readonly logLevel: LogLevel;
  /** Of the process: when it is over, the process ends with whatever it has not released yet. */
  readonly stopTimeoutMs: number;
  readonly qemuNbd: string;
  readonly qemuImg: string;
  readonly limits: BackupLimits;
  /** Tasks (verification, removal, …) at the same time. */
  readonly maxTasks: number;
  /** 0 is unlimited. */
  readonly rateLimitBytesPerSecond: number;
  /** Of each incremental disk, of 64 KiB; 0 audits nothing. */
  readonly cbtAuditBlocks: number;
  /** Of restore points, when nobody asks. */
  readonly verification: VerifySchedule;
}

export interface BackupLimits {
  readonly total: number;
  readonly perNode: number;
  readonly perHost: number;
  readonly perDatastore: number;
}

/** @throws `invalid_config` naming every unknown name and invalid value */
export function readConfig(env: NodeJS.ProcessEnv): HubConfig {
  const file = env['SENDENSE_CONFIG_FILE'];
  const settings = readSettings(hubSettings, {
    env,
    ignore: OTHERS_SETTINGS,
    ...(file ? { file } : {}),
  });
  const runtimeDirectory = resolve(settings.SENDENSE_RUNTIME_DIR);
  const window = settings.SENDENSE_VERIFY_WINDOW;
  const databaseUrl = settings.SENDENSE_DATABASE_URL;
  const passwordFile = settings.SENDENSE_DATABASE_PASSWORD_FILE;
  if (passwordFile !== undefined && databaseUrl === undefined)
    throw new SendenseError(
      'invalid_config',
      'SENDENSE_DATABASE_PASSWORD_FILE is set without SENDENSE_DATABASE_URL: give both, or neither',
    );
  checkSocketLength(nodeSocketPath(runtimeDirectory, 'x'));
  return {
    apiListen: settings.SENDENSE_API_LISTEN,
    tunnelListen: settings.SENDENSE_TUNNEL_LISTEN,
    tunnelWorkers: settings.SENDENSE_TUNNEL_WORKERS,
    nbdPorts: settings.SENDENSE_NBD_PORTS,
    dataDirectory: resolve(settings.SENDENSE_DATA_DIR),
    database: databaseUrl === undefined ? undefined : mariaDbTarget(databaseUrl, passwordFile),
    runtimeDirectory,
    exportDirectory: settings.SENDENSE_EXPORT_DIR && resolve(settings.SENDENSE_EXPORT_DIR),
    logLevel: settings.SENDENSE_LOG_LEVEL,
    stopTimeoutMs: settings.SENDENSE_STOP_SECONDS * 1000,
    qemuNbd: settings.SENDENSE_QEMU_NBD,
    qemuImg: settings.SENDENSE_QEMU_IMG,
    limits: {
      total: settings.SENDENSE_MAX_BACKUPS,
      perNode: settings.SENDENSE_MAX_BACKUPS_PER_NODE,
      perHost: settings.SENDENSE_MAX_BACKUPS_PER_HOST,
      perDatastore: settings.SENDENSE_MAX_BACKUPS_PER_DATASTORE,
    },
    maxTasks: settings.SENDENSE_MAX_TASKS,
    rateLimitBytesPerSecond: settings.SENDENSE_RATE_LIMIT,
    cbtAuditBlocks: settings.SENDENSE_CBT_AUDIT_BLOCKS,
    verification: {
      everyDays: settings.SENDENSE_VERIFY_EVERY_DAYS,
      window: window ? parseWindow(window) : undefined,
      rateLimitBytesPerSecond: settings.SENDENSE_VERIFY_RATE_LIMIT,
    },
  };
}

/** unix(7): sun_path holds 108 bytes, the last of them 0. */
const MAX_SOCKET_PATH_BYTES = 107;

/** The socket that leads to one node's gRPC server. */
export function nodeSocketPath(runtimeDirectory: string, nodeName: string): string {
  return join(runtimeDirectory, 'nodes', `${nodeName}.sock`);
}

/** The longest node name whose socket still fits below this directory, in bytes. */
export function longestNodeName(runtimeDirectory: string): number {
  return MAX_SOCKET_PATH_BYTES - Buffer.byteLength(nodeSocketPath(runtimeDirectory, ''));
}

function checkSocketLength(path: string): void {
  const length = Buffer.byteLength(path);
  if (length <= MAX_SOCKET_PATH_BYTES) return;
  throw new SendenseError(
    'invalid_config',
    `SENDENSE_RUNTIME_DIR is too long: a socket below it, ${path}, would take ${length} bytes, and ${MAX_SOCKET_PATH_BYTES} are possible. Use a shorter path`,
  );
}

/** The mark of this hub's child processes, by which the next start finds what a killed one left behind. */
export function ownerMark(realDataDirectory: string): string {
  return `hub:${realDataDirectory}`;
}
