import { Socket } from 'node:net';

/** Read into by every socket of the process: what is read is dealt with before the next read. */
const READ_BYTES = 512 << 10;

let memory: Buffer | undefined;

/**
 * The same TCP connection as another socket, which reads into one buffer that all connections share. Node allocates
 * 64 KiB for every read otherwise, which becomes the greatest cost of a connection that only carries bytes.
 *
 * @param copies whether listeners may still look at a chunk in a later turn, asked for each chunk: then it is a copy
 */
export function withSharedReading(socket: Socket, copies: () => boolean): Socket {
  const { _handle: handle } = socket as unknown as { _handle: unknown };
  const buffer = (memory ??= Buffer.allocUnsafeSlow(READ_BYTES));
  const options = {
    handle,
    readable: true,
    writable: true,
    allowHalfOpen: socket.allowHalfOpen,
    onread: {
      buffer,
      callback: (count: number) => {
        const chunk = buffer.subarray(0, count);
        shared.emit('data', copies() ? Buffer.from(chunk) : chunk);
        return true;
      },
    },
  };
  // The old object must not close what is not its own any more.
  Object.assign(socket, { _handle: null });
  const shared = new Socket(options as object);
  return shared;
}
