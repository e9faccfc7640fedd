import { isAbsolute } from 'node:path';
import { SendenseError, throwIfAborted } from '@sendense/core';
import { ChildProcess, KEEP_FREED_MEMORY, type Logger } from '@sendense/runtime';
import type { ExportProbe } from './export-probe.js';
import { listensOn, portInUse, requireFreePort } from './port-holder.js';
import { diedUnasked, untilReady } from './readiness.js';

export interface QemuNbdOptions {
  /** Name or path of the binary. @default 'qemu-nbd' */
  readonly command?: string;
  /** Absolute path of a QCOW2 image. */
  readonly imagePath: string;
  readonly exportName: string;
  /** On 127.0.0.1. */
  readonly port: number;
  /** The size that the handshake must show. */
  readonly expectedSizeBytes: number;
  /** How many clients may be connected at once; more than one announces multi-conn. */
  readonly connections: number;
  /** See ChildProcess: how a later start finds what a killed one left behind. */
  readonly owner: string;
  readonly log: Logger;
  readonly probe: ExportProbe;
  readonly signal?: AbortSignal;
  /** @default 10000 */
  readonly readyTimeoutMs?: number;
}

const HOST = '127.0.0.1';
/** A disk that is slow to take the last writes is no reason to kill their writer. */
const FLUSH_TIMEOUT_MS = 60_000;

/** One `qemu-nbd` that serves one image for writing, from a handshake that showed its name and size until it is stopped. */
export class QemuNbd implements AsyncDisposable {
  readonly pid: number;
  readonly port: number;
  readonly exportName: string;
  readonly imagePath: string;
  /** Resolves with `qemu_nbd_died` and its stderr when it ends unasked; never otherwise. */
  readonly died: Promise<SendenseError>;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, options: QemuNbdOptions) {
    this.#child = child;
    this.pid = child.pid;
    this.port = options.port;
    this.exportName = options.exportName;
    this.imagePath = options.imagePath;
    this.died = diedUnasked(
      child,
      'qemu_nbd_died',
      `qemu-nbd of ${options.exportName} (${options.imagePath})`,
    );
  }

  /**
   * @throws `port_in_use` naming the holder, `qemu_nbd_missing`, `qemu_nbd_failed` with its stderr, `disk_size_mismatch`;
   * nothing is left running then
   */
  static async start(options: QemuNbdOptions): Promise<QemuNbd> {
    throwIfAborted(options.signal);
    if (!isAbsolute(options.imagePath))
      throw new SendenseError(
        'invalid_argument',
        `the path of an image must be absolute: ${options.imagePath}`,
      );
    await requireFreePort(options.port);
    const child = await ChildProcess.spawn(options.command ?? 'qemu-nbd', qemuNbdArguments(options), {
      name: `qemu-nbd of ${options.exportName}`,
      owner: options.owner,
      log: options.log,
      env: KEEP_FREED_MEMORY,
      missingCode: 'qemu_nbd_missing',
      missingHint: 'install the package qemu-utils, or set SENDENSE_QEMU_NBD to its path',
    });
    try {
      await requireReady(child, options);
      return new QemuNbd(child, options);
    } catch (error) {
      await child.terminate();
      throw error;
    }
  }

  /**
   * SIGTERM, so that it flushes and closes the image, and waits.
   * @throws `qemu_nbd_failed` when it did not end cleanly, `qemu_nbd_died` when it had ended before
   */
  async stop(): Promise<void> {
    if (!this.#child.running && !this.#child.terminating)
      throw this.#child.failure(
        'qemu_nbd_died',
        `qemu-nbd of ${this.exportName} had ended before it was stopped`,
      );
    const { exitCode } = await this.#child.terminate(FLUSH_TIMEOUT_MS);
    if (exitCode !== 0)
      throw this.#child.failure(
        'qemu_nbd_failed',
        `qemu-nbd of ${this.exportName} did not end cleanly, so ${this.imagePath} may be incomplete`,
      );
  }

  /** Ends it however it can. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.terminate();
  }
}

/**
 * Zeroes are detected where the disk is read, so `--detect-zeroes` is left out. qemu-nbd binds to every address unless
 * told otherwise, and announces multi-conn to writers only with `--shared` above 1.
 */
function qemuNbdArguments({ exportName, port, connections, imagePath }: QemuNbdOptions): string[] {
  return [
    '--persistent',
    ...['--export-name', exportName],
    ...['--bind', HOST],
    ...['--port', String(port)],
    `--shared=${connections}`,
    '--cache=writeback',
    '--discard=unmap',
    '--format=qcow2',
    '--',
    imagePath,
  ];
}

async function requireReady(child: ChildProcess, options: QemuNbdOptions): Promise<void> {
  const { exportName, port, imagePath, expectedSizeBytes, probe, signal, readyTimeoutMs = 10_000 } = options;
  const what = `qemu-nbd of ${exportName}`;
  const found = await untilReady(
    child,
    (limit) => probe({ kind: 'tcp', host: HOST, port }, exportName, limit),
    () => startFailure(child, options),
    { what, timeoutMs: readyTimeoutMs, signal },
  ).catch((error: unknown) => {
    throw error instanceof SendenseError && error.code === 'timeout'
      ? new SendenseError(
          'qemu_nbd_failed',
          `${error.message}; stderr: ${child.stderrTail() || '(nothing)'}`,
          {
            cause: error,
            context: { port, path: imagePath },
          },
        )
      : error;
  });
  // A stranger may have taken the port since it was free, and answer to the same name.
  if (!(await listensOn(child.pid, port))) throw await portInUse(port);
  if (found.readOnly)
    throw new SendenseError(
      'qemu_nbd_failed',
      `${what} serves ${imagePath} read-only: it cannot be written`,
      {
        context: { path: imagePath },
      },
    );
  if (found.sizeBytes !== expectedSizeBytes) {
    throw new SendenseError(
      'disk_size_mismatch',
      `${what} shows ${found.sizeBytes} bytes, the disk has ${expectedSizeBytes}: ${imagePath} is not its image`,
      { context: { path: imagePath, expected_bytes: expectedSizeBytes, found_bytes: found.sizeBytes } },
    );
  }
}

async function startFailure(child: ChildProcess, { port, imagePath, exportName }: QemuNbdOptions) {
  if (/Address already in use/.test(child.stderrTail())) return portInUse(port);
  return child.failure('qemu_nbd_failed', `qemu-nbd of ${exportName} ended at once, serving ${imagePath}`, {
    path: imagePath,
    port,
  });
}
