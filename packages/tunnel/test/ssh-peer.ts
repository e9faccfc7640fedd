// An SSH client that breaks the rules: it sends whatever packets a test wants, properly encrypted.
import { connect, type Socket } from 'node:net';
import ssh2, { type Client as SshClient } from 'ssh2';
import { formatTunnelUser } from '../src/names.js';
import { NODE, type Harness } from './harness.js';

/** What is used of ssh2's inside, in tests only. */
interface Protocol {
  readonly _packetRW: {
    readonly write: {
      readonly allocStart: number;
      alloc(length: number): Buffer;
      finalize(packet: Buffer): Buffer;
    };
  };
  readonly _cipher: { encrypt(packet: Buffer): void };
}

export interface RawPeer extends Disposable {
  readonly ssh: SshClient;
  readonly socket: Socket;
  readonly closed: Promise<void>;
  isClosed(): boolean;
  /** One SSH message: its number and its payload. */
  send(payload: Buffer): void;
}

export async function rawPeer(hub: Harness, jobId?: string): Promise<RawPeer> {
  const ssh = new ssh2.Client();
  let isClosed = false;
  const closed = new Promise<void>((resolve) => {
    ssh.once('close', () => {
      isClosed = true;
      resolve();
    });
  });
  ssh.on('error', () => undefined);
  const socket = connect({ host: '127.0.0.1', port: hub.hub.port });
  await new Promise<void>((resolve, reject) => {
    ssh.once('ready', resolve).once('error', reject);
    ssh.connect({
      sock: socket,
      username: formatTunnelUser({ nodeName: NODE, jobId }),
      privateKey: hub.key.privateKeyPem,
      strictVendor: false,
    });
  });
  const protocol = (ssh as unknown as { readonly _protocol: Protocol })._protocol;
  return {
    ssh,
    socket,
    closed,
    isClosed: () => isClosed,
    send: (payload) => {
      const { write } = protocol._packetRW;
      const packet = write.alloc(payload.length);
      packet.set(payload, write.allocStart);
      protocol._cipher.encrypt(write.finalize(packet));
    },
    [Symbol.dispose]: () => ssh.destroy(),
  };
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

export function string(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([uint32(bytes.length), bytes]);
}

/** RFC 4254, section 7.2. */
export function openDirectTcpip(
  port: number,
  options: { host?: string; window?: number; packetBytes?: number; sender?: number } = {},
): Buffer {
  const { host = '127.0.0.1', window = 1 << 21, packetBytes = 32_768, sender = 7 } = options;
  return Buffer.concat([
    Buffer.from([90]),
    string('direct-tcpip'),
    uint32(sender),
    uint32(window),
    uint32(packetBytes),
    string(host),
    uint32(port),
    string('127.0.0.1'),
    uint32(0),
  ]);
}
