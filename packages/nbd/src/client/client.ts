import type { Duplex } from 'node:stream';
import { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { NbdAddress } from '../address.js';
import type { BlockStatusExtent, NbdExport } from './export.js';

export type ConnectOptions = (
  | { readonly address: NbdAddress }
  /** An open byte stream to the server, an SSH channel for one; the client owns it from now on. */
  | { readonly stream: Duplex }
) & {
  readonly exportName: string;
  readonly log: Logger;
  /** Ask for `base:allocation`. @default false */
  readonly blockStatus?: boolean;
  /** For connecting and the handshake only. */
  readonly signal?: AbortSignal;
  /** For connecting and the handshake together. @default 10000 */
  readonly timeoutMs?: number;
};

export class NbdClient implements AsyncDisposable {
  /** What the server said about the export. */
  readonly export: NbdExport;

  private constructor(
    readonly exportName: string,
    facts: NbdExport,
    /** Resolves when the connection ends: with the reason, or with undefined when we ended it. */
    readonly lost: Promise<SendenseError | undefined>,
  ) {
    this.export = facts;
  }
  static async connect(_options: ConnectOptions): Promise<NbdClient> {
    throw new SendenseError('internal', 'not built yet');
  }
  async read(_offset: number, _length: number, _into?: Buffer): Promise<Buffer> {
    throw new SendenseError('internal', 'not built yet');
  }
  async write(_offset: number, _data: Buffer): Promise<void> {
    throw new SendenseError('internal', 'not built yet');
  }
  async writeZeroes(_offset: number, _length: number): Promise<void> {
    throw new SendenseError('internal', 'not built yet');
  }
  async flush(): Promise<void> {
    throw new SendenseError('internal', 'not built yet');
  }
  async blockStatus(_offset: number, _length: number): Promise<BlockStatusExtent[]> {
    throw new SendenseError('internal', 'not built yet');
  }
  async [Symbol.asyncDispose](): Promise<void> {}
}
