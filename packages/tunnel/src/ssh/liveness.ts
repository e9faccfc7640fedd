import type { Socket } from 'node:net';

export interface LivenessOptions {
  readonly intervalMs: number;
  /** Intervals without a sign of life after the first one. */
  readonly tries: number;
}

/**
 * Notices a peer that is gone or frozen although TCP still stands: `onDead` after `intervalMs × (tries + 1)` without a
 * sign of life. ssh2 asks the peer in every interval (its keep-alive), but counts only the answers to that, which under
 * load wait behind megabytes of data on a slow line. Here every byte received is a sign of life, and so is every byte
 * that a full kernel buffer takes, because it only takes one when the peer has acknowledged another.
 */
export function watchLiveness(socket: Socket, options: LivenessOptions, onDead: () => void): Disposable {
  let [received, sent, silent, backlogged] = [socket.bytesRead, 0, 0, false];
  const timer = setInterval(() => {
    const nowSent = socket.bytesWritten - socket.writableLength;
    const alive = socket.bytesRead !== received || (backlogged && nowSent !== sent);
    [received, sent, backlogged] = [socket.bytesRead, nowSent, socket.writableLength > 0];
    silent = alive ? 0 : silent + 1;
    if (silent <= options.tries) return;
    clearInterval(timer);
    onDead();
  }, options.intervalMs);
  const stop = () => clearInterval(timer);
  socket.once('close', stop);
  return { [Symbol.dispose]: stop };
}
