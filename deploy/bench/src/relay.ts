import { createConnection, createServer, type Server, type Socket } from 'node:net';

/**
 * A TCP relay on the loopback that counts what it carries and delivers every byte half a round trip later, in both
 * directions, without limiting how much is under way: what a long line with ample bandwidth does. What the two ends of a
 * connection let each other send is all that bounds its memory.
 */
export class DelayingRelay implements AsyncDisposable {
  readonly #sockets = new Set<Socket>();
  /** Of what arrives from now on. */
  roundTripMs = 0;
  /** It loses everything, as a line that is dead without either end knowing. */
  silent = false;
  /** What was taken from those who connect, and from the target: TCP payload, all connections since the start. */
  readonly carried = { fromClients: 0, fromTarget: 0 };

  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  static async start(targetPort: number): Promise<DelayingRelay> {
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
      const delayMs = () => relay.roundTripMs / 2;
      near.on('data', ({ length }: Buffer) => (relay.carried.fromClients += length));
      far.on('data', ({ length }: Buffer) => (relay.carried.fromTarget += length));
      const isSilent = () => relay.silent;
      delayed(near, far, delayMs, isSilent);
      delayed(far, near, delayMs, isSilent);
    });
    return relay;
  }

  /** Closes every connection that there is. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.silent = false;
    this.cut();
    await new Promise<unknown>((closed) => this.server.close(closed));
  }
}

/** Chunks queue with the time at which they are due; one timer at a time, for all that are due then. */
function delayed(from: Socket, to: Socket, delayMs: () => number, isSilent: () => boolean): void {
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
    if (isSilent()) return;
    const wait = delayMs();
    if (wait === 0 && queue.length === 0) {
      // A timer would take a millisecond.
      if (chunk) to.write(chunk);
      else to.end();
      return;
    }
    queue.push({ due: performance.now() + wait, chunk });
    timer ??= setTimeout(deliver, wait);
  };
  from.on('data', enqueue);
  from.on('end', () => enqueue(undefined));
  from.on('close', () => {
    if (!from.readableEnded && !isSilent()) to.destroy();
  });
  to.on('close', () => {
    clearTimeout(timer);
    if (!isSilent()) from.destroy();
  });
}
