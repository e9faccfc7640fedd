import type { SendenseError } from '@sendense/core';
import { Coverage, type Destination } from './destination.js';
import type { BlockStatusExtent } from './export.js';
import type { Asked } from './failures.js';
import { COMMAND, MAGIC_REQUEST, type Command } from './protocol.js';

/** A request that was sent and is not settled yet. */
export class PendingRequest implements Asked {
  /** The first error that the server reported for it. */
  failure: SendenseError | undefined;
  status: BlockStatusExtent[] | undefined;
  readonly #settled = Promise.withResolvers<void>();
  /** What of a read has arrived. */
  readonly #coverage: Coverage;
  #replied = false;
  #sent: boolean;

  constructor(
    readonly command: Command,
    readonly offset: number,
    readonly length: number,
    /** Where a read goes. */
    readonly into: Destination | undefined,
    /** Whether the caller wants the memory of its payload back: it is not settled before that has been sent. */
    lendsPayload: boolean,
  ) {
    this.#coverage = new Coverage(length);
    this.#sent = !lendsPayload;
  }

  get promise(): Promise<void> {
    return this.#settled.promise;
  }

  /** Notes that a part of a read has arrived; `at` counts from the start of the request. @returns false when it had before */
  arrived(at: number, length: number): boolean {
    this.#coverage.add(at, length);
    return this.into?.arrived(at, length) ?? false;
  }

  /** Whether every byte of a read has arrived, and none twice. */
  isComplete(): boolean {
    return this.#coverage.isComplete();
  }

  /** @returns whether it is settled; if not, its payload is still on its way */
  replied(): boolean {
    this.#replied = true;
    this.#settle();
    return this.#sent;
  }

  /** The stream no longer needs the payload: only then may its owner have it back. */
  sent(): void {
    this.#sent = true;
    this.#settle();
  }

  reject(error: SendenseError): void {
    this.#settled.reject(error);
  }

  #settle(): void {
    if (!this.#replied || !this.#sent) return;
    if (this.failure) this.#settled.reject(this.failure);
    else this.#settled.resolve();
  }
}

export const REQUEST_HEAD_BYTES = 28;

/** Cookies count up from 1; as numbers they are exact for longer than any connection lives. */
export function requestHead(
  command: keyof typeof COMMAND,
  cookie: number,
  offset: number,
  length: number,
  /** Where to put it. */
  head: Buffer = Buffer.allocUnsafe(REQUEST_HEAD_BYTES),
): Buffer {
  head.writeUInt32BE(MAGIC_REQUEST, 0);
  head.writeUInt16BE(0, 4);
  head.writeUInt16BE(COMMAND[command], 6);
  writeUInt64(head, cookie, 8);
  writeUInt64(head, offset, 16);
  head.writeUInt32BE(length, 24);
  return head;
}

export function cookieAt(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4);
}

function writeUInt64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32BE(Math.floor(value / 2 ** 32), at);
  bytes.writeUInt32BE(value % 2 ** 32, at + 4);
}
