import { printable, SendenseError } from '@sendense/core';
import type { NbdExport } from './export.js';
import type { HandshakeReader } from './handshake-reader.js';
import {
  HANDSHAKE,
  INFO,
  MAGIC_OLDSTYLE,
  MAGIC_OPTION,
  MAGIC_OPTION_REPLY,
  MAGIC_SERVER,
  MAX_PAYLOAD_BYTES,
  META_CONTEXT_ALLOCATION,
  OPTION,
  OPTION_ERROR_BIT,
  OPTION_ERRORS,
  OPTION_REPLY,
  TRANSMISSION,
} from './protocol.js';
import { protocolError } from './failures.js';
import type { Wire } from './wire.js';

/** What client and server agreed on. */
export interface Agreement {
  readonly export: NbdExport;
  readonly structuredReplies: boolean;
  /** The number that stands for `base:allocation` in this connection. */
  readonly allocationContextId: number | undefined;
}

interface OptionReply {
  readonly type: number;
  readonly data: Buffer;
}

/** No option reply that we ask for is longer: names and messages are strings of at most 4096 bytes. */
const MAX_OPTION_REPLY_BYTES = 8192;

/**
 * The fixed newstyle handshake, up to the transmission phase.
 *
 * @throws `nbd_refused` when the server will not serve this export, `nbd_protocol` when it does not speak NBD
 */
export async function negotiate(
  wire: Wire,
  reader: HandshakeReader,
  exportName: string,
  blockStatus: boolean,
): Promise<Agreement> {
  await greet(wire, reader);
  const options = new Options(wire, reader);
  const structuredReplies = await options.isAcknowledged(OPTION.STRUCTURED_REPLY, Buffer.alloc(0));
  const allocationContextId =
    structuredReplies && blockStatus ? await askForAllocationContext(options, exportName) : undefined;
  const facts = await go(options, wire.description, exportName);
  return {
    export: { ...facts, hasBlockStatus: allocationContextId !== undefined },
    structuredReplies,
    allocationContextId,
  };
}

async function greet(wire: Wire, reader: HandshakeReader): Promise<void> {
  const greeting = await reader.read(16);
  if (greeting.readBigUInt64BE(0) !== MAGIC_SERVER) {
    throw protocolError(wire.description, 'it does not speak NBD: another service listens there');
  }
  const style = greeting.readBigUInt64BE(8);
  if (style !== MAGIC_OPTION) {
    const oldstyle = style === MAGIC_OLDSTYLE;
    throw protocolError(
      wire.description,
      oldstyle ? 'it speaks only oldstyle NBD' : 'its greeting is malformed',
    );
  }
  const flags = (await reader.read(2)).readUInt16BE(0);
  if ((flags & HANDSHAKE.FIXED_NEWSTYLE) === 0)
    throw protocolError(wire.description, 'it does not speak fixed newstyle NBD');
  const answer = Buffer.alloc(4);
  answer.writeUInt32BE(HANDSHAKE.FIXED_NEWSTYLE | (flags & HANDSHAKE.NO_ZEROES));
  wire.send(answer);
}

/** Asks for options, one at a time. */
class Options {
  constructor(
    private readonly wire: Wire,
    private readonly reader: HandshakeReader,
  ) {}

  /** Sends an option and yields what the server answers, up to the final ACK or error, which is yielded too. */
  async *ask(option: number, data: Buffer): AsyncGenerator<OptionReply> {
    const header = Buffer.alloc(16);
    header.writeBigUInt64BE(MAGIC_OPTION, 0);
    header.writeUInt32BE(option, 8);
    header.writeUInt32BE(data.length, 12);
    this.wire.send(Buffer.concat([header, data]));
    for (let count = 0; count < 100; count++) {
      const reply = await this.#reply(option);
      yield reply;
      if (reply.type === OPTION_REPLY.ACK || reply.type >= OPTION_ERROR_BIT) return;
    }
    throw this.malformed('its answer to an option does not end');
  }

  async isAcknowledged(option: number, data: Buffer): Promise<boolean> {
    let last: OptionReply | undefined;
    for await (const reply of this.ask(option, data)) last = reply;
    return last?.type === OPTION_REPLY.ACK;
  }

  malformed(what: string): SendenseError {
    return protocolError(this.wire.description, what);
  }

  async #reply(option: number): Promise<OptionReply> {
    const header = await this.reader.read(20);
    if (header.readBigUInt64BE(0) !== MAGIC_OPTION_REPLY)
      throw this.malformed('an option reply has a wrong magic number');
    if (header.readUInt32BE(8) !== option)
      throw this.malformed('it answers an option that was not asked for');
    const length = header.readUInt32BE(16);
    if (length > MAX_OPTION_REPLY_BYTES) throw this.malformed(`an option reply is ${length} bytes long`);
    return { type: header.readUInt32BE(12), data: await this.reader.read(length) };
  }
}

/** @returns undefined when the server does not know `base:allocation` */
async function askForAllocationContext(options: Options, exportName: string): Promise<number | undefined> {
  const request = Buffer.concat([
    lengthAndText(exportName),
    uint32(1),
    lengthAndText(META_CONTEXT_ALLOCATION),
  ]);
  let id: number | undefined;
  for await (const reply of options.ask(OPTION.SET_META_CONTEXT, request)) {
    if (reply.type === OPTION_REPLY.META_CONTEXT) {
      const name = reply.data.toString('utf8', 4);
      if (reply.data.length < 4 || name !== META_CONTEXT_ALLOCATION)
        throw options.malformed('it offers a metadata context that was not asked for');
      id = reply.data.readUInt32BE(0);
    } else if (reply.type >= OPTION_ERROR_BIT) {
      return undefined;
    }
  }
  return id;
}

type Facts = Omit<NbdExport, 'hasBlockStatus'>;

async function go(options: Options, server: string, exportName: string): Promise<Facts> {
  const wanted = Buffer.alloc(4);
  wanted.writeUInt16BE(1, 0);
  wanted.writeUInt16BE(INFO.BLOCK_SIZE, 2);
  let main: Buffer | undefined;
  let blockSizes: Buffer | undefined;
  for await (const { type, data } of options.ask(
    OPTION.GO,
    Buffer.concat([lengthAndText(exportName), wanted]),
  )) {
    if (type >= OPTION_ERROR_BIT) throw refused(server, exportName, type, data);
    if (type !== OPTION_REPLY.INFO) continue;
    const kind = data.length < 2 ? undefined : data.readUInt16BE(0);
    if (kind === INFO.EXPORT && data.length === 12) main = data;
    else if (kind === INFO.BLOCK_SIZE && data.length === 14) blockSizes = data;
    else if (kind === undefined || kind === INFO.EXPORT || kind === INFO.BLOCK_SIZE)
      throw options.malformed('what it says about the export is malformed');
  }
  if (!main) throw options.malformed('it did not say how large the export is');
  return exportFacts(options, main, blockSizes);
}

function exportFacts(options: Options, main: Buffer, blockSizes: Buffer | undefined): Facts {
  const size = main.readBigUInt64BE(2);
  if (size > BigInt(Number.MAX_SAFE_INTEGER))
    throw options.malformed(`it says that the export has ${size} bytes`);
  const flags = main.readUInt16BE(10);
  const has = (flag: number) => (flags & flag) !== 0;
  // A server that says nothing may be asked for any byte; 4096 and 32 MiB are the protocol's defaults.
  const minBlockBytes = blockSizes?.readUInt32BE(2) ?? 1;
  const preferredBlockBytes = blockSizes?.readUInt32BE(6) ?? 4096;
  const maxBlockBytes = Math.min(blockSizes?.readUInt32BE(10) ?? MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES);
  const powerOfTwo = minBlockBytes > 0 && (minBlockBytes & (minBlockBytes - 1)) === 0;
  if (!powerOfTwo || minBlockBytes > 65_536 || maxBlockBytes < minBlockBytes)
    throw options.malformed(`its block sizes make no sense (${minBlockBytes} to ${maxBlockBytes})`);
  return {
    sizeBytes: Number(size),
    readOnly: has(TRANSMISSION.READ_ONLY),
    canFlush: has(TRANSMISSION.SEND_FLUSH),
    canWriteZeroes: has(TRANSMISSION.SEND_WRITE_ZEROES),
    canFastZero: has(TRANSMISSION.SEND_FAST_ZERO),
    canMultiConn: has(TRANSMISSION.CAN_MULTI_CONN),
    minBlockBytes,
    preferredBlockBytes,
    maxBlockBytes: maxBlockBytes - (maxBlockBytes % minBlockBytes),
  };
}

function refused(server: string, exportName: string, type: number, data: Buffer): SendenseError {
  const name = OPTION_ERRORS[type - OPTION_ERROR_BIT] ?? `error ${type - OPTION_ERROR_BIT}`;
  const said = data.length > 0 ? `: ${printable(data.toString('utf8'))}` : '';
  const meanings: Readonly<Record<string, string>> = {
    UNKNOWN: `has no export '${printable(exportName)}', or could not open it`,
    TLS_REQD: 'wants TLS, which is not used here: the tunnel encrypts',
    UNSUP: 'does not know NBD_OPT_GO: it is too old',
    SHUTDOWN: 'is shutting down',
  };
  return new SendenseError(
    'nbd_refused',
    `the NBD server at ${server} ${meanings[name] ?? `refuses the export '${printable(exportName)}'`} (${name}${said})`,
    { context: { server, exportName, reason: name }, retryable: name === 'SHUTDOWN' },
  );
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function lengthAndText(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([uint32(bytes.length), bytes]);
}
