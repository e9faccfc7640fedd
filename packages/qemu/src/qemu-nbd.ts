import type { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { ExportProbe } from './export-probe.js';

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

export class QemuNbd implements AsyncDisposable {
  readonly pid: number = 0;
  readonly port: number = 0;
  readonly exportName: string = '';
  readonly imagePath: string = '';
  /** Resolves with `qemu_nbd_died` and its stderr when it ends unasked; never otherwise. */
  readonly died: Promise<SendenseError> = new Promise(() => {});

  static async start(_options: QemuNbdOptions): Promise<QemuNbd> {
    throw new Error('not built yet');
  }
  /** SIGTERM, so that it flushes and closes the image. @throws `qemu_nbd_failed` when it did not end cleanly */
  async stop(): Promise<void> {
    throw new Error('not built yet');
  }
  /** Ends it however it can; never throws. */
  async [Symbol.asyncDispose](): Promise<void> {}
}
