import type { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { ExportAddress, ExportProbe } from './export-probe.js';

export interface NbdkitVddkOptions {
  /** Name or path of the binary. @default 'nbdkit' */
  readonly command?: string;
  /** Name (`vddk`) or path of the plugin. @default 'vddk' */
  readonly plugin?: string;
  /** Where libvixDiskLib lies (its parent: `…/vmware-vix-disklib-distrib`). Without it, the plugin's own default. */
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

/** One disk of a snapshot as a read-only NBD export (empty name) on a unix socket. */
export class NbdkitVddk implements AsyncDisposable {
  readonly pid: number = 0;
  readonly address: ExportAddress & { readonly kind: 'unix' } = { kind: 'unix', path: '' };
  readonly exportName = '';
  readonly sizeBytes: number = 0;
  /** Resolves with `nbdkit_died` and its stderr when it ends unasked; never otherwise. */
  readonly died: Promise<SendenseError> = new Promise(() => {});

  static async start(_options: NbdkitVddkOptions): Promise<NbdkitVddk> {
    throw new Error('not built yet');
  }
  /** The last lines of its stderr, secrets left out: the reason of a failed read or open. */
  stderrTail(): string {
    return '';
  }
  async [Symbol.asyncDispose](): Promise<void> {}
}
