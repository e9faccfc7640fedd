import { join } from 'node:path';
import { NbdClient, probeExport } from '@sendense/nbd';
import { NbdkitVddk } from '@sendense/qemu';
import type { Logger, OwnedStack } from '@sendense/runtime';
import type { SendenseError } from '@sendense/core';
import type { SnapshotDisk, VSphereSession } from '@sendense/vsphere';
import { checkSocketPath } from '../unix-socket.js';
import type { BackupSnapshot } from './snapshot.js';
import type { JobSpec } from './spec.js';

/** One disk of the snapshot, readable. */
export interface DiskSource {
  /** For errors: `disk 2000 ([datastore] vm/vm.vmdk)`. */
  readonly name: string;
  readonly client: NbdClient;
  /** Resolves with `nbdkit_died`; never otherwise. */
  readonly died: Promise<SendenseError>;
  /** What nbdkit said last: the reason of a failed read. */
  stderrTail(): string;
}

/** Each connection logs in to vCenter and opens the disk, which takes seconds. */
const OPEN_TIMEOUT_MS = 60_000;

/** Starts nbdkit for one disk and connects to it; `owned` releases both. */
export async function openSource(
  from: {
    readonly spec: JobSpec;
    readonly vcenter: VSphereSession;
    readonly snapshot: BackupSnapshot;
    readonly found: SnapshotDisk;
    readonly log: Logger;
  },
  owned: OwnedStack,
  signal: AbortSignal,
): Promise<DiskSource> {
  const { spec, vcenter, snapshot, found, log } = from;
  const { nbdkit, nbdkitVddkPlugin, vddkLibdir, vddkTransports } = spec.vddk;
  const socketPath = join(spec.socketDirectory, `${found.key}.sock`);
  checkSocketPath(socketPath, 'SENDENSE_RUNTIME_DIR');
  const server = await NbdkitVddk.start({
    command: nbdkit,
    plugin: nbdkitVddkPlugin,
    ...(vddkLibdir === undefined ? {} : { libdir: vddkLibdir }),
    ...(vddkTransports === undefined ? {} : { transports: vddkTransports }),
    server: vddkServer(spec.vcenter.endpoint),
    username: spec.vcenter.username,
    password: spec.vcenter.password,
    thumbprintSha1: vcenter.thumbprints.sha1,
    vmMoref: spec.vm.moref,
    snapshotMoref: snapshot.moref,
    diskFile: found.fileName,
    socketPath,
    owner: spec.owner,
    log,
    probe: (address, exportName, probeSignal) =>
      probeExport(address, exportName, { log, ...(probeSignal ? { signal: probeSignal } : {}) }),
    expectedSizeBytes: found.capacityBytes,
    signal,
  });
  owned.use(`nbdkit of disk ${found.key}`, server);
  const { address, exportName, died } = server;
  const client = await NbdClient.connect({
    address,
    exportName,
    log,
    signal,
    blockStatus: true,
    timeoutMs: OPEN_TIMEOUT_MS,
  });
  owned.use(`NBD connection to nbdkit of disk ${found.key}`, client);
  return {
    name: `disk ${found.key} (${found.fileName})`,
    client,
    died,
    stderrTail: () => server.stderrTail(),
  };
}

/** What VDDK takes as `server`: no scheme and no path. */
function vddkServer(endpoint: string): string {
  return endpoint.replace(/^https:\/\//i, '').replace(/\/.*$/, '');
}
