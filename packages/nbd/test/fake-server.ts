// An NBD server inside the test that can be told to lie.
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { silentLogger as log } from '@sendense/runtime';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { NbdClient, type NbdAddress } from '../src/index.js';

export interface FakeRequest {
  readonly command: number;
  readonly cookie: bigint;
  readonly offset: number;
  readonly length: number;
  /** Of a write. */
  readonly data: Buffer;
}

export interface FakeOptions {
  readonly sizeBytes: number;
  /** @default true */
  readonly structured?: boolean;
  readonly transmissionFlags?: number;
  readonly blockSizes?: readonly [min: number, preferred: number, max: number];
  /** Bytes in place of the usual ones, by what they answer: `greeting`, `option-7`, … */
  readonly lies?: Readonly<Record<string, Buffer>>;
  /** Hang up after the first lie. */
  readonly hangUp?: boolean;
  /** Called with the head of a write before its payload is read, which happens when the promise resolves. */
  readonly beforePayload?: (cookie: bigint, socket: Socket) => Promise<void>;
  /** Answers a request. @default as a disk in memory would */
  readonly onRequest?: (request: FakeRequest, socket: Socket, connection: number) => void;
}

export const FLAGS = { flush: 4, writeZeroes: 64, multiConn: 256, readOnly: 2 };

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
export function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

export function optionReply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  return Buffer.concat([u64(0x3e889045565a9n), u32(option), u32(type), u32(data.length), data]);
}
export function simpleReply(cookie: bigint, errno = 0, data: Buffer = Buffer.alloc(0)): Buffer {
  return Buffer.concat([u32(0x67446698), u32(errno), u64(cookie), data]);
}
export function chunk(
  cookie: bigint,
  type: number,
  payload: Buffer,
  { done = true, length = payload.length } = {},
): Buffer {
  return Buffer.concat([u32(0x668e33ef), u16(done ? 1 : 0), u16(type), u64(cookie), u32(length), payload]);
}
export function dataChunk(
  cookie: bigint,
  offset: number,
  data: Buffer,
  options: { done?: boolean } = {},
): Buffer {
  return chunk(cookie, 1, Buffer.concat([u64(offset), data]), options);
}

export class FakeServer implements AsyncDisposable {
  readonly requests: (FakeRequest & { connection: number })[] = [];
  readonly memory: Buffer;
  readonly sockets = new Set<Socket>();
  #connections = 0;

  private constructor(
    readonly address: NbdAddress,
    private readonly server: Server,
    private readonly folder: Disposable,
    private readonly options: FakeOptions,
  ) {
    this.memory = Buffer.alloc(Math.min(options.sizeBytes, 64 * 1024 * 1024));
  }

  static async start(options: FakeOptions): Promise<FakeServer> {
    const folder = temporaryDirectory('nbd-fake');
    const path = join(folder.path, 'nbd.sock');
    const server = createServer((socket) => void fake.#serve(socket));
    const fake = new FakeServer({ kind: 'unix', path }, server, folder, options);
    const { promise, resolve } = Promise.withResolvers<void>();
    server.listen(path, resolve);
    await promise;
    return fake;
  }

  async connect(
    options: { blockStatus?: boolean; timeoutMs?: number; replyTimeoutMs?: number } = {},
  ): Promise<NbdClient> {
    return NbdClient.connect({ address: this.address, exportName: 'disk', log, ...options });
  }

  /** What a disk in memory answers. */
  answer(request: FakeRequest): Buffer {
    const { command, cookie, offset, length, data } = request;
    const structured = this.options.structured ?? true;
    const end = offset + length;
    if (command === 0) {
      const bytes = this.memory.subarray(offset, end);
      return structured ? dataChunk(cookie, offset, bytes) : simpleReply(cookie, 0, bytes);
    }
    if (command === 1) data.copy(this.memory, offset);
    if (command === 6) this.memory.fill(0, offset, end);
    if (command === 7) return chunk(cookie, 5, Buffer.concat([u32(1), u32(length), u32(0)]));
    return structured ? chunk(cookie, 0, Buffer.alloc(0)) : simpleReply(cookie);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.server.close(() => resolve());
    await promise;
    this.folder[Symbol.dispose]();
  }

  async #serve(socket: Socket): Promise<void> {
    const connection = this.#connections++;
    this.sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.sockets.delete(socket));
    try {
      await this.#handshake(socket);
      for (;;) {
        const head = await take(socket, 28);
        const command = head.readUInt16BE(6);
        const length = head.readUInt32BE(24);
        if (command === 2) break;
        if (command === 1) await this.options.beforePayload?.(head.readBigUInt64BE(8), socket);
        const request = {
          command,
          cookie: head.readBigUInt64BE(8),
          offset: Number(head.readBigUInt64BE(16)),
          length,
          data: command === 1 ? await take(socket, length) : Buffer.alloc(0),
        };
        this.requests.push({ ...request, connection });
        if (this.options.onRequest) this.options.onRequest(request, socket, connection);
        else socket.write(this.answer(request));
      }
    } catch {
      // The client hung up.
    }
    socket.end();
  }

  async #handshake(socket: Socket): Promise<void> {
    const { lies, structured = true } = this.options;
    const say = (what: string, truth: Buffer) => {
      const lie = lies?.[what];
      if (lie && this.options.hangUp) socket.end(lie);
      else socket.write(lie ?? truth);
    };
    say('greeting', Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), u16(3)]));
    await take(socket, 4);
    for (;;) {
      const head = await take(socket, 16);
      const option = head.readUInt32BE(8);
      await take(socket, head.readUInt32BE(12));
      const what = `option-${option}`;
      if (option === 8) say(what, optionReply(8, structured ? 1 : 0x80000001));
      else if (option === 10) say(what, Buffer.concat([this.#context(), optionReply(10, 1)]));
      else if (option === 7) {
        say(what, Buffer.concat([...this.#information(), optionReply(7, 1)]));
        return;
      } else say(what, optionReply(option, 0x80000001));
    }
  }

  #context(): Buffer {
    return optionReply(10, 4, Buffer.concat([u32(1), Buffer.from('base:allocation')]));
  }

  #information(): Buffer[] {
    const {
      sizeBytes,
      blockSizes,
      transmissionFlags = 1 | FLAGS.flush | FLAGS.writeZeroes | FLAGS.multiConn,
    } = this.options;
    const main = optionReply(7, 3, Buffer.concat([u16(0), u64(sizeBytes), u16(transmissionFlags)]));
    return blockSizes ? [main, optionReply(7, 3, Buffer.concat([u16(3), ...blockSizes.map(u32)]))] : [main];
  }
}

/** A server of 1 MiB that lies in its handshake. */
export async function lie(lies: NonNullable<FakeOptions['lies']>, hangUp = false): Promise<FakeServer> {
  return FakeServer.start({ sizeBytes: 1024 * 1024, lies, hangUp });
}

/** Reads exactly so many bytes. */
async function take(socket: Socket, count: number): Promise<Buffer> {
  if (count === 0) return Buffer.alloc(0);
  for (;;) {
    const bytes = socket.read(count) as Buffer | null;
    if (bytes?.length === count) return bytes;
    if (bytes || socket.readableEnded || socket.destroyed) throw new Error('the client hung up');
    const { promise, resolve } = Promise.withResolvers<void>();
    const events = ['readable', 'end', 'close'];
    for (const event of events) socket.on(event, resolve);
    await promise;
    for (const event of events) socket.off(event, resolve);
  }
}
