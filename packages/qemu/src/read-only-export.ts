import { rm } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { SendenseError, throwIfAborted } from '@sendense/core';
import { ChildProcess, KEEP_FREED_MEMORY, type Logger } from '@sendense/runtime';
import type { ExportProbe } from './export-probe.js';
import { diedUnasked, untilReady } from './readiness.js';

export interface ReadOnlyExportOptions {
  /** Name or path of the binary. @default 'qemu-nbd' */
  readonly command?: string | undefined;
  /** Absolute path of a QCOW2 image; its backing files are read too. */
  readonly imagePath: string;
  readonly exportName: string;
  /** Where it listens, in a folder that only this user may enter. What is there is replaced. */
  readonly socketPath: string;
  /** The size that the handshake must show. */
  readonly expectedSizeBytes: number;
  /** How many clients may be connected at once. @default 8 */
  readonly connections?: number | undefined;
  /** See ChildProcess: how a later start finds what a killed one left behind. */
  readonly owner: string;
  readonly log: Logger;
  readonly probe: ExportProbe;
  readonly signal?: AbortSignal | undefined;
  /** @default 10000 */
  readonly readyTimeoutMs?: number | undefined;
}

/** One `qemu-nbd -r` on a unix socket: an image with all that lies beneath it, as a restore would read it. */
export interface ReadOnlyExport extends AsyncDisposable {
  readonly pid: number;
  readonly address: { readonly kind: 'unix'; readonly path: string };
  readonly exportName: string;
  /** Resolves with `qemu_nbd_died` and its stderr when it ends unasked; never otherwise. */
  readonly died: Promise<SendenseError>;
}

/** `sun_path` in unix(7) has 108 bytes, the last one zero. */
const MAX_SOCKET_PATH_BYTES = 107;

/**
 * Starts it; ready when this returns. It takes qemu's shared lock, so nobody can write any image of the chain meanwhile.
 *
 * @throws `qemu_nbd_missing`, `qemu_nbd_failed` with its stderr (a missing backing file, for one), `disk_size_mismatch`,
 * `invalid_argument`, the signal's reason; nothing is left running then
 */
export async function startReadOnlyExport(options: ReadOnlyExportOptions): Promise<ReadOnlyExport> {
  throwIfAborted(options.signal);
  checkPaths(options);
  const { imagePath, exportName, socketPath } = options;
  const child = await ChildProcess.spawn(options.command ?? 'qemu-nbd', argumentsOf(options), {
    name: `qemu-nbd (read-only) of ${exportName}`,
    owner: options.owner,
    log: options.log,
    env: KEEP_FREED_MEMORY,
    missingCode: 'qemu_nbd_missing',
    missingHint: 'install the package qemu-utils, or set SENDENSE_QEMU_NBD to its path',
  });
  const dispose = async () => {
    await child.terminate();
    await rm(socketPath, { force: true });
  };
  try {
    await requireReady(child, options);
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    pid: child.pid,
    address: { kind: 'unix', path: socketPath },
    exportName,
    died: diedUnasked(child, 'qemu_nbd_died', `qemu-nbd (read-only) of ${exportName} (${imagePath})`),
    [Symbol.asyncDispose]: dispose,
  };
}

function checkPaths({ imagePath, socketPath }: ReadOnlyExportOptions): void {
  for (const path of [imagePath, socketPath]) {
    if (!isAbsolute(path))
      throw new SendenseError(
        'invalid_argument',
        `the path of an image or a socket must be absolute: ${path}`,
      );
  }
  if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH_BYTES)
    throw new SendenseError(
      'invalid_argument',
      `the path of a socket has at most ${MAX_SOCKET_PATH_BYTES} bytes: ${socketPath}; choose a shorter runtime folder`,
    );
}

function argumentsOf({
  exportName,
  socketPath,
  connections = 8,
  imagePath,
}: ReadOnlyExportOptions): string[] {
  return [
    '--read-only',
    '--persistent',
    ...['--export-name', exportName],
    ...['--socket', socketPath],
    `--shared=${connections}`,
    '--format=qcow2',
    '--',
    imagePath,
  ];
}

async function requireReady(child: ChildProcess, options: ReadOnlyExportOptions): Promise<void> {
  const { exportName, socketPath, imagePath, expectedSizeBytes, probe, signal } = options;
  const what = `qemu-nbd (read-only) of ${exportName}`;
  const failed = (how: string) => child.failure('qemu_nbd_failed', `${what} ${how}`, { path: imagePath });
  const found = await untilReady(
    child,
    (limit) => probe({ kind: 'unix', path: socketPath }, exportName, limit),
    () => failed(`ended at once, serving ${imagePath}`),
    { what, timeoutMs: options.readyTimeoutMs ?? 10_000, signal },
  ).catch((error: unknown) => {
    throw error instanceof SendenseError && error.code === 'timeout'
      ? failed(`gave up: ${error.message}`)
      : error;
  });
  if (found.sizeBytes !== expectedSizeBytes) {
    throw new SendenseError(
      'disk_size_mismatch',
      `${what} shows ${found.sizeBytes} bytes, the disk has ${expectedSizeBytes}: ${imagePath} is not its image`,
      { context: { path: imagePath, expected_bytes: expectedSizeBytes, found_bytes: found.sizeBytes } },
    );
  }
}
