import { randomFillSync } from 'node:crypto';
import type { Socket } from 'node:net';
import { giveBackMemory, memoryOf, takeMemory, TRANSFER_BYTES, widen } from '@sendense/runtime';
import { ciphers, type Channel, type SshClient, type SshConnection } from './library.js';
import { pooledRandomFill } from './random-pool.js';

/**
 * What a channel of ours takes in one packet: a piece of data and an NBD request's head before it. RFC 4253, section 6.1,
 * asks for 32 KiB at least; OpenSSH takes 256 KiB.
 */
export const LARGE_PACKET_BYTES = TRANSFER_BYTES + 64;

// A packet: length (4 bytes, in clear), then encrypted: length of the padding (1 byte), payload, padding; then the tag.
const LENGTH_BYTES = 4;
const BLOCK_BYTES = 16;
const MIN_PADDING_BYTES = 4;
const TAG_BYTES = 16;
/** Kind of message, channel and length of the data, before the data (RFC 4254, section 5.2). */
const DATA_HEAD_BYTES = 9;
/** The longest packet: room for every message head of ssh2's. */
const MAX_LENGTH = LARGE_PACKET_BYTES + 64;
/** Of a peer that may still be a stranger: what ssh2 takes, and RFC 4253, section 6.1, asks for. */
const STRANGERS_MAX_LENGTH = 35_000;
/** What ssh2 offers for every channel. */
const SSH2_PACKET_BYTES = 32 << 10;

/** The parts of ssh2 that are touched here; it offers no setting for them. */
interface GcmCipher {
  allocPacket(payloadBytes: number): Buffer;
}
interface GcmDecipher {
  inSeqno: number;
  readonly _instance: { decrypt(packet: Buffer, length: number, tag: Buffer): void };
  readonly _onPayload: (payload: Buffer) => number | false | undefined;
  decrypt(data: Buffer, from: number, end: number): number | undefined;
}
interface Protocol {
  /** None before the first keys are there. */
  readonly _decipher: GcmDecipher | undefined;
  /** What every decipher of the connection is made with. */
  readonly _onPayload: GcmDecipher['_onPayload'];
  channelOpenConfirm(remote: number, local: number, window: number, maxPacket: number): void;
}

const fillRandom = pooledRandomFill(randomFillSync);
const available = patchCiphers();

/**
 * Has ssh2 send and take packets of up to 2 MiB with AES-GCM (as it is, it refuses more than 35000 bytes), in memory that
 * is used again. All connections of a process share the prototypes, so they are changed before there is a connection.
 *
 * @returns false where ssh2's native add-on was not built: then everything stays as it is, and slower
 */
function patchCiphers(): boolean {
  const info = ciphers.CIPHER_INFO['aes128-gcm@openssh.com'];
  if (!ciphers.bindingAvailable || !info) return false;
  // Their classes can only be had from instances.
  const key = Buffer.alloc(info.keyLen);
  const iv = Buffer.alloc(info.ivLen);
  const seqno = 0;
  const outbound = { seqno, cipherInfo: info, cipherKey: key, cipherIV: iv, onWrite: () => undefined };
  const inbound = { seqno, decipherInfo: info, decipherKey: key, decipherIV: iv, onPayload: () => undefined };
  const cipher = Object.getPrototypeOf(ciphers.createCipher({ outbound })) as GcmCipher;
  const decipher = Object.getPrototypeOf(ciphers.createDecipher({ inbound })) as GcmDecipher;
  cipher.allocPacket = makePacket;
  decipher.decrypt = takePackets;
  return true;
}

/**
 * Lets the peer of a connection send packets of 2 MiB on the channels that it opens (ssh2 offers 32 KiB), and uses the
 * memory of what was sent again. What a packet costs beside its bytes is a sixtieth then. Whoever reads the channels may
 * hand chunks back with `giveBackMemory`.
 */
export function useLargePackets(ssh: SshClient | SshConnection, tcp: Socket): void {
  if (!available) return;
  giveBackWhatIsSent(tcp);
  const { _protocol: protocol } = ssh as unknown as { readonly _protocol: Protocol };
  const confirm = protocol.channelOpenConfirm.bind(protocol);
  protocol.channelOpenConfirm = (remote, local, window, maxPacket) => {
    // The peer chooses the cipher: OpenSSH prefers another one.
    const large = maxPacket === SSH2_PACKET_BYTES && copiesPackets(ssh);
    confirm(remote, local, window, large ? LARGE_PACKET_BYTES : maxPacket);
  };
}

/** The connections whose peer has proven who it is. */
const acquainted = new WeakSet<GcmDecipher['_onPayload']>();

/** Takes large packets on a connection from now on: not before its peer has proven who it is, because each takes up memory. */
export function takeLargePackets(ssh: SshClient | SshConnection): void {
  const { _protocol: protocol } = ssh as unknown as { readonly _protocol: Protocol };
  acquainted.add(protocol._onPayload);
  if (protocol._decipher) inboundOf(protocol._decipher).maxLength = MAX_LENGTH;
}

/** Whether a connection keeps nothing of the chunks that it is fed: it copies what it decrypts. */
export function copiesPackets(ssh: SshClient | SshConnection): boolean {
  const { _protocol: protocol } = ssh as unknown as { readonly _protocol: Protocol };
  return protocol._decipher?.decrypt === takePackets;
}

/**
 * What has not come yet of a large packet that has begun to come, in its memory, with room for the length of the next one:
 * bytes that are read to this place need not be copied.
 */
export function placeOfNextRead(ssh: SshClient | SshConnection): Buffer | undefined {
  const { _protocol: protocol } = ssh as unknown as { readonly _protocol: Protocol };
  const packet = protocol._decipher && inbound.get(protocol._decipher)?.packet;
  if (!packet?.memory) return undefined;
  return packet.memory.subarray(packet.filled, packet.bytes.length + LENGTH_BYTES);
}

/** What {@link writeOwned} is writing, as long as no packet was made of it. */
let offered: Buffer | undefined;

/**
 * Writes to a channel what the caller need not have back. Where it fits into one packet that can go now, the packet is made
 * around it, in its own memory, and encrypted there: nothing is copied. The memory is given back when it has been sent.
 */
export function writeOwned(channel: Channel, data: Buffer, done: () => void): void {
  const { packetSize, window } = channel.outgoing as { readonly packetSize: number; readonly window: number };
  const fits = data.length <= packetSize && data.length <= window;
  let isCopied = !fits;
  offered = fits ? data : undefined;
  try {
    // It never calls back before it has returned.
    channel.write(data, () => {
      if (isCopied) giveBackMemory(data);
      done();
    });
  } finally {
    isCopied ||= offered !== undefined;
    offered = undefined;
  }
}

/** RFC 4253, section 6; with AES-GCM the length is not part of what is padded (RFC 5647, section 7.2). */
function makePacket(payloadBytes: number): Buffer {
  const unpadded = 1 + payloadBytes;
  let paddingBytes = BLOCK_BYTES - (unpadded % BLOCK_BYTES);
  if (paddingBytes < MIN_PADDING_BYTES) paddingBytes += BLOCK_BYTES;
  const length = unpadded + paddingBytes;
  const packet = placeAround(payloadBytes, paddingBytes) ?? takeMemory(LENGTH_BYTES + length + TAG_BYTES);
  packet.writeUInt32BE(length, 0);
  packet[LENGTH_BYTES] = paddingBytes;
  fillRandom(packet, LENGTH_BYTES + unpadded, paddingBytes);
  return packet;
}

/** @returns the place of a packet around the data that is offered, where ssh2 copies that data onto itself */
function placeAround(payloadBytes: number, paddingBytes: number): Buffer | undefined {
  if (!offered || payloadBytes !== DATA_HEAD_BYTES + offered.length) return undefined;
  const place = widen(offered, LENGTH_BYTES + 1 + DATA_HEAD_BYTES, paddingBytes + TAG_BYTES);
  if (place) offered = undefined;
  return place;
}

function giveBackWhatIsSent(tcp: Socket): void {
  const write = tcp.write.bind(tcp) as (data: Uint8Array | string, ...rest: unknown[]) => boolean;
  const writeAndGiveBack = (data: Uint8Array | string, ...rest: unknown[]) => {
    if (typeof data === 'string' || !memoryOf(data)) return write(data, ...rest);
    // Not after an error: nobody knows who still reads it.
    return write(data, (error: unknown) => {
      if (!error) giveBackMemory(data);
    });
  };
  tcp.write = writeAndGiveBack;
}

/** What has come of the next packet. */
interface Inbound {
  maxLength: number;
  length: number;
  lengthBytes: number;
  /** Everything behind the length, the tag included; undefined while the length is not known. */
  packet: { readonly bytes: Buffer; readonly memory: Buffer | undefined; filled: number } | undefined;
}

const inbound = new WeakMap<GcmDecipher, Inbound>();

/** With new keys, later on, a connection has another decipher, which begins with the same `_onPayload`. */
function inboundOf(decipher: GcmDecipher): Inbound {
  let state = inbound.get(decipher);
  if (!state) {
    const maxLength = acquainted.has(decipher._onPayload) ? MAX_LENGTH : STRANGERS_MAX_LENGTH;
    inbound.set(decipher, (state = { maxLength, length: 0, lengthBytes: 0, packet: undefined }));
  }
  return state;
}

/** What `AESGCMDecipherBinding.decrypt` does, for packets of up to 2 MiB. @throws for a peer that breaks the protocol */
function takePackets(this: GcmDecipher, data: Buffer, from: number, end: number): number | undefined {
  const state = inboundOf(this);
  let at = from;
  while (at < end) {
    while (state.lengthBytes < LENGTH_BYTES && at < end) {
      state.length = state.length * 256 + (data[at++] ?? 0);
      state.lengthBytes++;
    }
    if (state.lengthBytes < LENGTH_BYTES) return undefined;
    const packet = (state.packet ??= packetOf(checkedLength(state)));
    const { bytes } = packet;
    const count = Math.min(bytes.length - packet.filled, end - at);
    const isThere = data.buffer === bytes.buffer && data.byteOffset + at === bytes.byteOffset + packet.filled;
    if (!isThere) data.copy(bytes, packet.filled, at, at + count);
    packet.filled += count;
    at += count;
    if (packet.filled < bytes.length) return undefined;
    const { length } = state;
    state.length = 0;
    state.lengthBytes = 0;
    state.packet = undefined;
    const stop = this._onPayload(decrypted(this, bytes, length));
    if (stop !== undefined) return stop === false ? at : stop;
  }
  return undefined;
}

function packetOf(length: number): NonNullable<Inbound['packet']> {
  const bytes = takeMemory(length + TAG_BYTES);
  return { bytes, memory: memoryOf(bytes), filled: 0 };
}

function checkedLength({ length, maxLength }: Inbound): number {
  if (length >= BLOCK_BYTES && length <= maxLength && length % BLOCK_BYTES === 0) return length;
  throw new Error(`Bad packet length: ${length}`);
}

function decrypted(decipher: GcmDecipher, packet: Buffer, length: number): Buffer {
  decipher._instance.decrypt(packet.subarray(0, length), length, packet.subarray(length));
  decipher.inSeqno = (decipher.inSeqno + 1) >>> 0;
  const paddingBytes = packet[0] ?? 0;
  if (paddingBytes < MIN_PADDING_BYTES || paddingBytes >= length) throw new Error('Bad packet padding');
  return packet.subarray(1, length - paddingBytes);
}
