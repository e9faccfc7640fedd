import type { SendenseError } from '@sendense/core';
import { cookieAt, type PendingRequest } from './requests.js';
import type { BlockStatusExtent } from './export.js';
import {
  BLOCK_STATUS,
  CHUNK,
  CHUNK_DONE,
  CHUNK_ERROR_BIT,
  MAGIC_SIMPLE_REPLY,
  MAGIC_STRUCTURED_REPLY,
  MAX_PAYLOAD_BYTES,
} from './protocol.js';
import type { ByteSink } from './wire.js';

/** What the reader of replies needs of the connection that it serves. */
export interface ReplyOwner {
  readonly structuredReplies: boolean;
  readonly allocationContextId: number | undefined;
  readonly sizeBytes: number;
  /** The request of this cookie, if there is one. */
  request(cookie: number): PendingRequest | undefined;
  /** The last of its reply has been read. */
  done(cookie: number, request: PendingRequest): void;
  requestFailed(request: PendingRequest, errno: number, said: string): SendenseError;
  malformed(what: string): SendenseError;
  ended(error: Error | undefined): void;
}

/** A payload that goes straight into a buffer, and what to do when it is there. */
interface Fill {
  readonly buffer: Buffer;
  at: number;
  readonly finish: () => void;
}

/** Holds the heads of replies; a page, so that little payload comes along that must be copied out. */
const SCRATCH_BYTES = 4096;
const SIMPLE_HEAD = 16;
const STRUCTURED_HEAD = 20;
const MAX_ERROR_BYTES = 8192;

/** Takes replies apart. Heads go through a small buffer, payload into the buffer of the request that asked for it. */
export class ReplyReader implements ByteSink {
  readonly #scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  #start = 0;
  #end = 0;
  #fill: Fill | undefined;

  constructor(private readonly owner: ReplyOwner) {}

  space(): Uint8Array {
    return this.#fill ? this.#fill.buffer.subarray(this.#fill.at) : this.#scratch.subarray(this.#end);
  }

  took(count: number): void {
    const fill = this.#fill;
    if (fill) {
      fill.at += count;
      if (fill.at === fill.buffer.length) this.#filled(fill);
      return;
    }
    this.#end += count;
    while (this.#fill ? this.#fillFromScratch(this.#fill) : this.#head());
    // What is left is less than one head.
    this.#scratch.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }

  ended(error: Error | undefined): void {
    this.owner.ended(error);
  }

  /** Wants the next bytes in `buffer`. */
  #want(buffer: Buffer, finish: () => void): void {
    const fill = { buffer, at: 0, finish };
    if (buffer.length === 0) finish();
    else this.#fill = fill;
  }

  /** @returns whether there is more to take apart */
  #fillFromScratch(fill: Fill): boolean {
    const count = Math.min(fill.buffer.length - fill.at, this.#end - this.#start);
    this.#scratch.copy(fill.buffer, fill.at, this.#start, this.#start + count);
    this.#start += count;
    fill.at += count;
    if (fill.at < fill.buffer.length) return false;
    this.#filled(fill);
    return true;
  }

  #filled(fill: Fill): void {
    this.#fill = undefined;
    fill.finish();
  }

  /** @returns false when the head has not arrived as a whole */
  #head(): boolean {
    const available = this.#end - this.#start;
    if (available < SIMPLE_HEAD) return false;
    const magic = this.#scratch.readUInt32BE(this.#start);
    if (magic === MAGIC_SIMPLE_REPLY) return this.#simpleReply();
    if (magic !== MAGIC_STRUCTURED_REPLY || !this.owner.structuredReplies)
      throw this.owner.malformed('a reply has a wrong magic number');
    return available >= STRUCTURED_HEAD && this.#structuredReply(available);
  }

  #simpleReply(): boolean {
    const errno = this.#scratch.readUInt32BE(this.#start + 4);
    const cookie = cookieAt(this.#scratch, this.#start + 8);
    const request = this.#requestOf(cookie);
    this.#start += SIMPLE_HEAD;
    if (errno !== 0) {
      request.failure ??= this.owner.requestFailed(request, errno, '');
      this.owner.done(cookie, request);
    } else if (!request.into) {
      if (request.command === 'BLOCK_STATUS')
        throw this.owner.malformed('a block status reply has no status');
      this.owner.done(cookie, request);
    } else {
      if (this.owner.structuredReplies)
        throw this.owner.malformed('a read was answered without structure although structure was agreed on');
      this.#receive(request, 0, request.length, () => this.owner.done(cookie, request));
    }
    return true;
  }

  #structuredReply(available: number): boolean {
    const head = this.#start;
    const last = (this.#scratch.readUInt16BE(head + 4) & CHUNK_DONE) !== 0;
    const type = this.#scratch.readUInt16BE(head + 6);
    const length = this.#scratch.readUInt32BE(head + 16);
    const hasOffset = type === CHUNK.OFFSET_DATA;
    if (hasOffset && length <= 8) throw this.owner.malformed('a data chunk holds no data');
    if (hasOffset && available < STRUCTURED_HEAD + 8) return false;
    const cookie = cookieAt(this.#scratch, head + 8);
    const request = this.#requestOf(cookie);
    this.#start += STRUCTURED_HEAD;
    const finish = () => {
      if (last) this.#lastChunk(cookie, request);
    };
    if (type === CHUNK.NONE) {
      if (length !== 0 || !last)
        throw this.owner.malformed('an empty reply chunk is not empty, or not the last');
      finish();
    } else if (hasOffset) {
      this.#offsetData(request, length, finish);
    } else {
      this.#gather(request, type, length, finish);
    }
    return true;
  }

  #offsetData(request: PendingRequest, length: number, finish: () => void): void {
    const at = this.#scratch.readBigUInt64BE(this.#start) - BigInt(request.offset);
    this.#start += 8;
    requireInside(this.owner, request, at, length - 8);
    this.#receive(request, Number(at), length - 8, finish);
  }

  /** Wants the next bytes where the request has place for them. */
  #receive(request: PendingRequest, at: number, length: number, finish: () => void): void {
    if (length === 0) {
      finish();
      return;
    }
    const place = this.#placeOf(request, at, length);
    this.#want(place, () => {
      this.#arrived(request, at, place.length);
      this.#receive(request, at + place.length, length - place.length, finish);
    });
  }

  /** Chunks other than data are read as a whole, then looked at. */
  #gather(request: PendingRequest, type: number, length: number, finish: () => void): void {
    const isError = (type & CHUNK_ERROR_BIT) !== 0;
    const known = isError || type === CHUNK.OFFSET_HOLE || type === CHUNK.BLOCK_STATUS;
    if (!known) throw this.owner.malformed(`reply chunks of type ${type} are not known`);
    const limit = isError ? MAX_ERROR_BYTES : type === CHUNK.OFFSET_HOLE ? 12 : MAX_PAYLOAD_BYTES;
    if (length > limit) throw this.owner.malformed(`a reply chunk of type ${type} is ${length} bytes long`);
    const payload = Buffer.allocUnsafe(length);
    this.#want(payload, () => {
      if (isError) this.#errorChunk(request, payload);
      else if (type === CHUNK.OFFSET_HOLE) this.#holeChunk(request, payload);
      else this.#statusChunk(request, payload);
      finish();
    });
  }

  #errorChunk(request: PendingRequest, payload: Buffer): void {
    const messageLength = payload.length < 6 ? -1 : payload.readUInt16BE(4);
    if (messageLength < 0 || 6 + messageLength > payload.length)
      throw this.owner.malformed('an error chunk is too short');
    const errno = payload.readUInt32BE(0);
    if (errno === 0) throw this.owner.malformed('an error chunk reports no error');
    request.failure ??= this.owner.requestFailed(
      request,
      errno,
      payload.toString('utf8', 6, 6 + messageLength),
    );
  }

  #holeChunk(request: PendingRequest, payload: Buffer): void {
    if (payload.length !== 12) throw this.owner.malformed('a hole chunk is too short');
    const at = payload.readBigUInt64BE(0) - BigInt(request.offset);
    const length = payload.readUInt32BE(8);
    if (length === 0) throw this.owner.malformed('a hole chunk is empty');
    requireInside(this.owner, request, at, length);
    const end = Number(at) + length;
    for (let from = Number(at); from < end;) {
      const place = this.#placeOf(request, from, end - from).fill(0);
      this.#arrived(request, from, place.length);
      from += place.length;
    }
  }

  #statusChunk(request: PendingRequest, payload: Buffer): void {
    const { owner } = this;
    if (request.command !== 'BLOCK_STATUS' || request.status)
      throw owner.malformed('a block status that nobody asked for');
    if (payload.length < 12 || payload.length % 8 !== 4) throw owner.malformed('a block status is malformed');
    if (payload.readUInt32BE(0) !== owner.allocationContextId)
      throw owner.malformed('a block status of another context than the one agreed on');
    const status: BlockStatusExtent[] = [];
    let offset = request.offset;
    for (let at = 4; at < payload.length && offset < owner.sizeBytes; at += 8) {
      const length = Math.min(payload.readUInt32BE(at), owner.sizeBytes - offset);
      const flags = payload.readUInt32BE(at + 4);
      if (length === 0) throw owner.malformed('a block status describes nothing');
      status.push({
        offset,
        length,
        hole: (flags & BLOCK_STATUS.HOLE) !== 0,
        zero: (flags & BLOCK_STATUS.ZERO) !== 0,
      });
      offset += length;
    }
    request.status = status;
  }

  #lastChunk(cookie: number, request: PendingRequest): void {
    if (!request.failure) {
      if (request.into && !request.isComplete())
        throw this.owner.malformed('the chunks of a read do not make up what was asked for');
      if (request.command === 'BLOCK_STATUS' && !request.status)
        throw this.owner.malformed('a block status reply has no status');
    }
    this.owner.done(cookie, request);
  }

  #requestOf(cookie: number): PendingRequest {
    const request = this.owner.request(cookie);
    if (!request) throw this.owner.malformed('a reply belongs to no request');
    return request;
  }

  /** @returns place for the data from `at` on, or for its first part */
  #placeOf(request: PendingRequest, at: number, length: number): Buffer {
    if (!request.into) throw this.owner.malformed('data in reply to something that is no read');
    const place = request.into.place(at, length);
    if (!place) throw this.owner.malformed('a part of the data came twice');
    return place;
  }

  #arrived(request: PendingRequest, at: number, length: number): void {
    if (!request.arrived(at, length)) throw this.owner.malformed('a part of the data came twice');
  }
}

function requireInside(owner: ReplyOwner, request: PendingRequest, at: bigint, length: number): void {
  if (!request.into) throw owner.malformed('data in reply to something that is no read');
  if (at < 0n || at + BigInt(length) > BigInt(request.length))
    throw owner.malformed('a reply chunk lies outside of what was asked for');
}
