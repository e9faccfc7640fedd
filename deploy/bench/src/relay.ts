import { createConnection, createServer, type Server, type Socket } from 'node:net';

/**
 * A TCP relay on the loopback that delivers every byte half a round trip later, in both directions, without limiting how
 * much is under way: what a long line with ample bandwidth does.
 */
export class DelayingRelay implements AsyncDisposable {
  readonly #sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  static async start(targetPort: number, roundTripMs: number): Promise<DelayingRelay> {
    const server = createServer();
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    const address = server.address();
    const relay = new DelayingRelay(
      server,
      typeof address === 'object' && address !== null ? address.port : 0,
    );
    server.on('connection', (near) => {
      const far = createConnection({ host: '127.0.0.1', port: targetPort });
      for (const socket of [near, far]) {
        socket.setNoDelay(true);
        relay.#sockets.add(socket);
        socket.on('error', () => socket.destroy());
        socket.on('close', () => relay.#sockets.delete(socket));
      }
      delayed(near, far, roundTripMs / 2);
      delayed(far, near, roundTripMs / 2);
    });
    return relay;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<unknown>((closed) => this.server.close(closed));
  }
}

/** Chunks queue with the time at which they are due; one timer at a time, for all that are due then. */
function delayed(from: Socket, to: Socket, delayMs: number): void {
  const queue: { due: number; chunk: Buffer | undefined }[] = [];
  let timer: NodeJS.Timeout | undefined;
  const deliver = () => {
    timer = undefined;
    const now = performance.now();
    to.cork();
    while (queue[0] && queue[0].due <= now) {
      const { chunk } = queue.shift() ?? {};
      if (chunk) to.write(chunk);
      else to.end();
    }
    to.uncork();
    const next = queue[0];
    if (next) timer = setTimeout(deliver, Math.max(0, next.due - performance.now()));
  };
  const enqueue = (chunk: Buffer | undefined) => {
    queue.push({ due: performance.now() + delayMs, chunk });
    timer ??= setTimeout(deliver, delayMs);
  };
  from.on('data', enqueue);
  from.on('end', () => enqueue(undefined));
  from.on('close', () => {
    if (!from.readableEnded) to.destroy();
  });
  to.on('close', () => {
    clearTimeout(timer);
    from.destroy();
  });
}
