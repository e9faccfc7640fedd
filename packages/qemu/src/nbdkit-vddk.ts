import { access, rm } from 'node:fs/promises';
import { SendenseError, throwIfAborted } from '@sendense/core';
import { ChildProcess, type Logger } from '@sendense/runtime';
import type { ExportProbe } from './export-probe.js';
import { checkNbdkitOptions, nbdkitArguments } from './nbdkit-arguments.js';
import { diedUnasked, untilReady } from './readiness.js';
import { secretFilter } from './secret-filter.js';
import { unlinkedFile } from './unlinked-file.js';

export interface NbdkitVddkOptions {
  /** Name or path of the binary. @default 'nbdkit' */
  readonly command?: string;
  /** Name (`vddk`) or path of the plugin. @default 'vddk' */
  readonly plugin?: string;
  /** Where libvixDiskLib lies (`…/vmware-vix-disklib-distrib`). Without it, the plugin's own default. */
  readonly libdir?: string;
  /** `file:san:hotadd:nbdssl:nbd`; without it, VDDK's own order. */
  readonly transports?: string;
  /** `host` or `host:port`. */
  readonly server: string;
  readonly username: string;
  readonly password: string;
  /** SHA-1, hexadecimal, with or without colons. */
  readonly thumbprintSha1: string;
  readonly vmMoref: string;
  readonly snapshotMoref: string;
  /** `[datastore] vm/disk.vmdk`, as the snapshot's configuration names it. */
  readonly diskFile: string;
  /** In a folder that only this user can enter; at most 107 bytes. */
  readonly socketPath: string;
  readonly owner: string;
  readonly log: Logger;
  readonly probe: ExportProbe;
  /** When given, the handshake must show this size. */
  readonly expectedSizeBytes?: number;
  readonly signal?: AbortSignal;
  /** Opening a disk through vCenter takes seconds. @default 60000 */
  readonly readyTimeoutMs?: number;
}

/** nbdkit listens at once; it opens the disk when somebody connects. */
const LISTEN_TIMEOUT_MS = 10_000;

/** One disk of a snapshot as a read-only NBD export (empty name) on a unix socket, from a handshake until it is disposed. */
export class NbdkitVddk implements AsyncDisposable {
  readonly pid: number;
  readonly address: { readonly kind: 'unix'; readonly path: string };
  readonly exportName = '';
  readonly sizeBytes: number;
  /** Resolves with `nbdkit_died` and its stderr when it ends unasked; never otherwise. */
  readonly died: Promise<SendenseError>;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, options: NbdkitVddkOptions, sizeBytes: number) {
    this.#child = child;
    this.pid = child.pid;
    this.address = { kind: 'unix', path: options.socketPath };
    this.sizeBytes = sizeBytes;
    this.died = diedUnasked(child, 'nbdkit_died', `nbdkit of ${options.diskFile}`);
  }

  /**
   * @throws `nbdkit_missing`, `vddk_plugin_missing`, `vddk_library_missing`, `nbdkit_failed` with the reason from its
   * stderr, `disk_size_mismatch`, `invalid_argument`; nothing is left running then
   */
  static async start(options: NbdkitVddkOptions): Promise<NbdkitVddk> {
    throwIfAborted(options.signal);
    checkNbdkitOptions(options);
    await removeSocket(options.socketPath);
    // Until the handshake: by then nbdkit has read it, also after starting itself anew.
    await using password = await unlinkedFile(`${options.socketPath}.secret`, `${options.password}\n`);
    const child = await ChildProcess.spawn(
      options.command ?? 'nbdkit',
      nbdkitArguments(options, { passwordPath: password.path, pidPath: pidPath(options.socketPath) }),
      {
        name: `nbdkit of ${options.diskFile}`,
        owner: options.owner,
        log: options.log,
        filterLine: secretFilter(options.password),
        missingCode: 'nbdkit_missing',
        missingHint: 'install the package nbdkit, or set SENDENSE_NBDKIT to its path',
      },
    );
    try {
      const sizeBytes = await requireReady(child, options);
      return new NbdkitVddk(child, options, sizeBytes);
    } catch (error) {
      await release(child, options.socketPath);
      throw error;
    }
  }

  /** The last lines of its stderr, secrets left out: the reason of a failed read. */
  stderrTail(): string {
    return this.#child.stderrTail();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await release(this.#child, this.address.path);
  }
}

/** @returns the disk's size */
async function requireReady(child: ChildProcess, options: NbdkitVddkOptions): Promise<number> {
  const { socketPath, diskFile, probe, expectedSizeBytes, signal, readyTimeoutMs = 60_000 } = options;
  const what = `nbdkit of ${diskFile}`;
  const ended = () => startFailure(child, options);
  // Written once the socket is listened on.
  await untilReady(child, () => access(pidPath(socketPath)), ended, {
    what,
    timeoutMs: LISTEN_TIMEOUT_MS,
    signal,
  });
  const limit = AbortSignal.any([AbortSignal.timeout(readyTimeoutMs), ...(signal ? [signal] : [])]);
  // Asked once: every handshake logs in to vCenter and opens the disk, and a refusal is an answer.
  const answer = probe({ kind: 'unix', path: socketPath }, '', limit).catch(async (error: unknown) => {
    throwIfAborted(signal);
    // Ended, it has said everything that it had to say.
    await child.terminate();
    throw openFailure(child, options, error);
  });
  const found = await Promise.race([
    answer,
    child.exited.then(() => (child.terminating ? answer : Promise.reject(ended()))),
  ]);
  if (!found.readOnly)
    throw new SendenseError('nbdkit_failed', `${what} offers to write to a snapshot: it must be read-only`);
  if (expectedSizeBytes !== undefined && found.sizeBytes !== expectedSizeBytes) {
    throw new SendenseError(
      'disk_size_mismatch',
      `${diskFile} has ${found.sizeBytes} bytes in the snapshot, and ${expectedSizeBytes} were expected: was it resized? Back up again`,
      { context: { expected_bytes: expectedSizeBytes, found_bytes: found.sizeBytes }, retryable: true },
    );
  }
  return found.sizeBytes;
}

/** The client only hears that there is no such export; why is on nbdkit's stderr. */
function openFailure(child: ChildProcess, options: NbdkitVddkOptions, cause: unknown): SendenseError {
  const asked = cause instanceof Error ? cause.message : String(cause);
  const said = child.stderrTail();
  return new SendenseError(
    'nbdkit_failed',
    `VDDK could not open ${options.diskFile} of ${options.vmMoref} (${options.snapshotMoref}) on ${options.server}: ${said || asked}`,
    { cause, context: { vm: options.vmMoref, snapshot: options.snapshotMoref, server: options.server } },
  );
}

function startFailure(child: ChildProcess, options: NbdkitVddkOptions): SendenseError {
  const said = child.stderrTail();
  const { plugin = 'vddk', libdir } = options;
  if (/cannot open plugin/.test(said))
    return child.failure(
      'vddk_plugin_missing',
      `nbdkit cannot load its VDDK plugin '${plugin}': install nbdkit-plugin-vddk, or set SENDENSE_NBDKIT_VDDK_PLUGIN to its path`,
    );
  if (/vixDiskLib|realpath:/i.test(said))
    return child.failure(
      'vddk_library_missing',
      `VMware's VDDK library cannot be loaded from ${libdir ?? "the plugin's default folder"}: unpack VDDK there, or set SENDENSE_VDDK_LIBDIR to the folder that holds its lib64`,
    );
  return child.failure('nbdkit_failed', `nbdkit of ${options.diskFile} ended at once`);
}

function pidPath(socketPath: string): string {
  return `${socketPath}.pid`;
}

/** nbdkit removes its socket, unless it was killed. */
async function removeSocket(socketPath: string): Promise<void> {
  await rm(socketPath, { force: true });
  await rm(pidPath(socketPath), { force: true });
}

async function release(child: ChildProcess, socketPath: string): Promise<void> {
  await child.terminate();
  await removeSocket(socketPath);
}
