// Bad networks: a TCP proxy that can cut, swallow and spoil what passes through it.
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Proxy extends AsyncDisposable {
  readonly port: number;
  /** Connections that it has taken so far. */
  readonly taken: number;
  /** Breaks every connection. */
  cut(): void;
  /** From now on nothing passes any more, and nobody is told. */
  swallow(): void;
  /** Connections made from now on pass again. */
  heal(): void;
}

export async function startProxy(
  targetPort: number,
  spoil: (chunk: Buffer, at: number) => Buffer = (chunk) => chunk,
): Promise<Proxy> {
  const pairs = new Set<[Socket, Socket]>();
  let swallowing = false;
  let taken = 0;
  const server = createServer((client) => {
    taken++;
    const target = connect({ host: '127.0.0.1', port: targetPort });
    const pair: [Socket, Socket] = [client, target];
    pairs.add(pair);
    let at = 0;
    let lost = swallowing;
    const pass = (to: Socket, change: (chunk: Buffer) => Buffer) => (chunk: Buffer) => {
      lost ||= swallowing;
      if (!lost) to.write(change(chunk));
    };
    client.on('data', (chunk) => {
      const changed = pass(target, (bytes) => spoil(bytes, at));
      changed(chunk);
      at += chunk.length;
    });
    target.on(
      'data',
      pass(client, (chunk) => chunk),
    );
    for (const [one, other] of [pair, pair.toReversed() as [Socket, Socket]]) {
      one.on('error', () => undefined);
      one.on('close', () => {
        pairs.delete(pair);
        if (!lost) other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    for (const pair of pairs) for (const socket of pair) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    get taken() {
      return taken;
    },
    cut,
    swallow: () => {
      swallowing = true;
    },
    heal: () => {
      swallowing = false;
    },
    [Symbol.asyncDispose]: async () => {
      cut();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
