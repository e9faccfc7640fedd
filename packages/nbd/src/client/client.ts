import type { Duplex } from 'node:stream';
import { SendenseError, toSendenseError } from '@sendense/core';
import { giveBackMemory, widen, type Logger } from '@sendense/runtime';
import { describeAddress, type NbdAddress } from '../address.js';
import { PartOf, Slices, WholeBuffer, type Destination } from './destination.js';
import type { BlockStatusExtent, NbdExport } from './export.js';
import { cannotConnect, connectionLost, protocolError, requestFailed } from './failures.js';
import { negotiate, type Agreement } from './handshake.js';
import { HandshakeReader } from './handshake-reader.js';
import { MAX_RANGE_BYTES, type Command } from './protocol.js';
import { inParts, requireRange } from './ranges.js';
import { ReplyReader } from './reply-reader.js';
import { PendingRequest, REQUEST_HEAD_BYTES, requestHead } from './requests.js';
import { SilenceWatch, type Conversation } from './silence-watch.js';
import { timeLimit } from './time-limit.js';
import { Wire } from './wire.js';

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
  /**
   * How long the server may say nothing while it owes an answer, before the connection is given up as lost. A flush gets
   * ten times as long: it may have gigabytes to bring to a slow disk, and says nothing meanwhile. @default 120000
   */
  readonly replyTimeoutMs?: number;
};

/** What goes with a request. */
interface Payload {
  /** Where a read goes. */
  readonly into?: Destination;
  /** What is written, and belongs to the caller again when that has settled. */
  readonly data?: Buffer;
  /** What is written, and belongs to the connection. */
  readonly released?: readonly Buffer[];
}

const DEFAULT_REPLY_TIMEOUT_MS = 120_000;
const FLUSH_PATIENCE = 10;

/** How long the server may take to hang up after we said goodbye. */
const GOODBYE_MS = 1000;

/**
 * One connection to one export. Any number of requests may be under way; each settles on its own, in the server's order.
 * A request that the server could not carry out leaves the connection as good as before; anything else ends it, and with
 * it every request under way.
 */
export class NbdClient implements AsyncDisposable {
  /** What the server said about the export. */
  readonly export: NbdExport;
  /** Resolves when the connection ends: with the reason, or with undefined when we ended it. */
  readonly lost: Promise<SendenseError | undefined>;

  readonly #pending = new Map<number, PendingRequest>();
  /** Answered before their payload had been sent: a server need not read what it refuses anyway. */
  readonly #answeredEarly = new Set<PendingRequest>();
  readonly #lost = Promise.withResolvers<SendenseError | undefined>();
  #lastCookie = 0;
  #state: 'open' | 'closing' | 'ended' = 'open';
  #reason: unknown;
  #bytesUnderWay = 0;
  #waitingSince: number | undefined;
  readonly #silenceWatch: SilenceWatch;

  private constructor(
    private readonly wire: Wire,
    readonly exportName: string,
    agreement: Agreement,
    private readonly log: Logger,
    private readonly replyTimeoutMs: number,
  ) {
    this.export = agreement.export;
    this.lost = this.#lost.promise;
    this.#silenceWatch = new SilenceWatch(
      () => this.#conversation(),
      replyTimeoutMs,
      (silentMs) => wire.destroy(new Error(`no answer for ${(silentMs / 1000).toFixed(1)} s`)),
    );
    wire.deliverTo(this.#replyReader(agreement));
  }

  /**
   * Connects and shakes hands.
   *
   * @throws `nbd_refused`, `nbd_protocol`, `nbd_connection_lost` (cannot be reached, or hung up), `timeout`, or the signal's reason
   */
  static async connect(options: ConnectOptions): Promise<NbdClient> {
    const server = 'address' in options ? describeAddress(options.address) : 'the other end of the stream';
    using limit = timeLimit(server, options.timeoutMs ?? 10_000, options.signal);
    const { signal } = limit;
    let wire: Wire | undefined;
    const stop = () => wire?.destroy();
    signal.addEventListener('abort', stop);
    try {
      wire =
        'address' in options
          ? await Wire.connect(options.address, server, signal)
          : Wire.over(options.stream, server);
      signal.throwIfAborted();
      const reader = new HandshakeReader(server);
      wire.deliverTo(reader);
      const agreement = await negotiate(wire, reader, options.exportName, options.blockStatus ?? false);
      if (reader.rest().length > 0) throw protocolError(server, 'it sent more than the handshake asked for');
      const { exportName, log, replyTimeoutMs = DEFAULT_REPLY_TIMEOUT_MS } = options;
      return new NbdClient(wire, exportName, agreement, log, replyTimeoutMs);
    } catch (error) {
      wire?.destroy();
      if (signal.aborted) throw toSendenseError(signal.reason, 'cancelled');
      throw wire
        ? connectionLost(server, options.exportName, undefined, error)
        : cannotConnect(server, error);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  /** Bytes that were asked for and have not been answered: what tells a busy connection from an idle one. */
  get bytesUnderWay(): number {
    return this.#bytesUnderWay;
  }

  /**
   * @param into where the data goes, at its start; a new buffer when left out. It must not be touched before this settles.
   * @returns the `length` bytes
   * @throws `nbd_read_failed` (retryable for EIO and ENOMEM), `nbd_connection_lost`, `nbd_protocol`
   */
  async read(offset: number, length: number, into?: Buffer): Promise<Buffer> {
    const data = (into ?? Buffer.allocUnsafeSlow(length)).subarray(0, length);
    if (data.length < length)
      throw new SendenseError('invalid_argument', `a buffer of ${data.length} bytes cannot hold ${length}`);
    await this.#readTo(new WholeBuffer(data), offset, length);
    return data;
  }

  /**
   * Reads in slices of `TRANSFER_BYTES`, the last may be shorter. A slice takes up memory only from when its first byte comes.
   *
   * @param take is called with each slice, as soon as it is there, and owns its memory (see `takeRoomyMemory`); `at` counts
   * from `offset`. Must be quick and not throw. When the read fails some slices may have been handed over.
   * @throws as {@link read}
   */
  async readSlices(offset: number, length: number, take: (at: number, slice: Buffer) => void): Promise<void> {
    await this.#readTo(new Slices(length, take), offset, length);
  }

  /**
   * @param data must not be touched before this settles
   * @throws `nbd_write_failed`, `out_of_space`, `nbd_connection_lost`, `nbd_protocol`
   */
  async write(offset: number, data: Buffer): Promise<void> {
    await this.#inParts(offset, data.length, (at, length) =>
      this.#send('WRITE', offset + at, length, { data: data.subarray(at, at + length) }),
    );
  }

  /**
   * As {@link write}, for data in pieces of memory of `takeRoomyMemory`, one after another, that the caller need not have back:
   * each is given back when it has been sent, and its content may be gone at once.
   */
  async writeAndRelease(offset: number, pieces: readonly Buffer[]): Promise<void> {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (length > this.export.maxBlockBytes) {
      const data = Buffer.concat(pieces);
      for (const piece of pieces) giveBackMemory(piece);
      await this.write(offset, data);
      return;
    }
    requireRange(this.export, this.exportName, { offset, length });
    await this.#send('WRITE', offset, length, { released: pieces });
  }

  /** Makes a range read as zeros, whatever was there or lies beneath it. @throws as {@link write} */
  async writeZeroes(offset: number, length: number): Promise<void> {
    if (!this.export.canWriteZeroes)
      throw new SendenseError(
        'nbd_refused',
        `${this.exportName} does not offer WRITE_ZEROES: write zeros as data`,
      );
    await this.#inParts(
      offset,
      length,
      (at, partLength) => this.#send('WRITE_ZEROES', offset + at, partLength),
      MAX_RANGE_BYTES,
    );
  }

  /** Makes what was written through this connection durable. Does nothing where the server has nothing to flush. */
  async flush(): Promise<void> {
    if (this.export.canFlush) await this.#send('FLUSH', 0, 0);
  }

  /**
   * The status of an export from `offset` on: at least one extent, in order, without gaps. It may end before
   * `offset + length` and may go beyond it; ask again from where it ends.
   *
   * @throws `nbd_read_failed`, `nbd_connection_lost`, `nbd_protocol`, `nbd_refused` without block status
   */
  async blockStatus(offset: number, length: number): Promise<BlockStatusExtent[]> {
    if (!this.export.hasBlockStatus)
      throw new SendenseError(
        'nbd_refused',
        `${this.exportName} does not offer block status: read all of it`,
      );
    requireRange(this.export, this.exportName, { offset, length });
    const request = await this.#send('BLOCK_STATUS', offset, Math.min(length, MAX_RANGE_BYTES));
    return request.status ?? [];
  }

  /** Ends the connection at once: requests under way fail with `reason`, and their buffers are free when they have. */
  abandon(reason: SendenseError): void {
    if (this.#state === 'ended') return;
    this.#state = 'closing';
    this.#end(reason);
    this.wire.destroy();
  }

  /** Says goodbye and hangs up; with requests still under way it hangs up at once, and they fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    const goodbye = this.#state === 'open' && this.#pending.size + this.#answeredEarly.size === 0;
    if (goodbye) this.wire.send(requestHead('DISC', 0, 0, 0));
    if (this.#state === 'open') this.#state = 'closing';
    this.#end(new Error('it was closed here'));
    if (goodbye) await this.wire.close(GOODBYE_MS);
    else this.wire.destroy();
  }

  async #readTo(into: Destination, offset: number, length: number): Promise<void> {
    await this.#inParts(offset, length, (at, partLength) =>
      this.#send('READ', offset + at, partLength, {
        into: partLength === length ? into : new PartOf(into, at),
      }),
    );
  }

  async #inParts(
    offset: number,
    length: number,
    send: (at: number, length: number) => Promise<unknown>,
    maxBytes = this.export.maxBlockBytes,
  ): Promise<void> {
    requireRange(this.export, this.exportName, { offset, length });
    await inParts(length, maxBytes, send);
  }

  async #send(
    command: Command,
    offset: number,
    length: number,
    payload: Payload = {},
  ): Promise<PendingRequest> {
    const { into, data, released } = payload;
    const request = new PendingRequest(command, offset, length, into, data !== undefined);
    if (this.#state !== 'open')
      throw connectionLost(this.wire.description, this.exportName, request, this.#reason);
    const cookie = ++this.#lastCookie;
    if (this.#pending.size === 0) this.#waitingSince = performance.now();
    this.#pending.set(cookie, request);
    this.#bytesUnderWay += length;
    if (released) {
      // The head is put before the first piece, where it lies.
      const [first, ...others] = released;
      const whole = first && widen(first, REQUEST_HEAD_BYTES, 0);
      const head = requestHead(command, cookie, offset, length, whole);
      this.wire.sendAndRelease(whole ? [whole, ...others] : [head, ...released]);
    } else {
      const head = requestHead(command, cookie, offset, length);
      if (data) this.wire.send(head, data, () => this.#sent(request));
      else this.wire.send(head);
    }
    await request.promise;
    return request;
  }

  #sent(request: PendingRequest): void {
    request.sent();
    this.#answeredEarly.delete(request);
  }

  #conversation(): Conversation {
    const flushing = [...this.#pending.values()].some(({ command }) => command === 'FLUSH');
    return {
      heardBytes: this.wire.heardBytes,
      waitingSince: this.#waitingSince,
      patienceMs: this.replyTimeoutMs * (flushing ? FLUSH_PATIENCE : 1),
    };
  }

  #replyReader(agreement: Agreement): ReplyReader {
    const server = this.wire.description;
    return new ReplyReader({
      structuredReplies: agreement.structuredReplies,
      allocationContextId: agreement.allocationContextId,
      sizeBytes: agreement.export.sizeBytes,
      request: (cookie) => this.#pending.get(cookie),
      done: (cookie, request) => {
        this.#pending.delete(cookie);
        if (this.#pending.size === 0) this.#waitingSince = undefined;
        this.#bytesUnderWay -= request.length;
        if (!request.replied()) this.#answeredEarly.add(request);
      },
      requestFailed: (request, errno, said) => requestFailed(server, this.exportName, request, errno, said),
      malformed: (what) => protocolError(server, what),
      ended: (error) => this.#end(error),
    });
  }

  #end(reason: unknown): void {
    if (this.#state === 'ended') return;
    this.#silenceWatch[Symbol.dispose]();
    const asked = this.#state === 'closing';
    this.#state = 'ended';
    this.#reason = reason;
    const server = this.wire.description;
    this.log.debug({ server, exportName: this.exportName, asked }, 'NBD connection ended');
    for (const request of [...this.#pending.values(), ...this.#answeredEarly]) {
      request.reject(request.failure ?? connectionLost(server, this.exportName, request, reason));
    }
    this.#pending.clear();
    this.#answeredEarly.clear();
    this.#bytesUnderWay = 0;
    this.#lost.resolve(asked ? undefined : connectionLost(server, this.exportName, undefined, reason));
  }
}
