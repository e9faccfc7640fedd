import { Socket } from 'node:net';

/** Read into by every socket of the process: what is read is dealt with before the next read. */
const READ_BYTES = 512 << 10;

let memory: Buffer | undefined;

/** What the reader of such a socket is asked before each read, and for each chunk. */
export interface Reader {
  /** Where the next bytes belong, when that is known: there nobody needs to copy them. */
  place(): Buffer | undefined;
  /** Whether listeners may still look at a chunk in a later turn: then it is a copy. */
  keepsChunks(): boolean;
}

/**
 * The same TCP connection as another socket, which reads to where its reader wants the bytes, or into one buffer that all
 * connections share. Node allocates 64 KiB for every read otherwise, which becomes the greatest cost of a connection that
 * only carries bytes.
 */
export function withSharedReading(socket: Socket, reader: Reader): Socket {
  const { _handle: handle } = socket as unknown as { _handle: unknown };
  const common = (memory ??= Buffer.allocUnsafeSlow(READ_BYTES));
  const options = {
    handle,
    readable: true,
    writable: true,
    allowHalfOpen: socket.allowHalfOpen,
    onread: {
      buffer: () => reader.place() ?? common,
      callback: (count: number, buffer: Buffer) => {
        const chunk = buffer.subarray(0, count);
        shared.emit('data', buffer === common && reader.keepsChunks() ? Buffer.from(chunk) : chunk);
        return true;
      },
    },
  };
  // The old object must not close what is not its own any more.
  Object.assign(socket, { _handle: null });
  const shared = new Socket(options as object);
  return shared;
}
