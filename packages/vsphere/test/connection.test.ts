import { once } from 'node:events';
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { eventually, requires } from '@sendense/runtime/testing';
import { fetchThumbprints } from '../src/transport/pinned-tls.js';
import { drop, hang, values, soap, type Answer } from './answers.js';
import { connectTo, failureOf } from './connect.js';
import { PASSWORD, ScriptedVCenter } from './scripted-vcenter.js';

const describeScripted = requires(describe, 'openssl');

let vcenter: ScriptedVCenter;
beforeEach(async () => {
  vcenter = await ScriptedVCenter.start();
});
afterEach(async () => {
  await vcenter[Symbol.asyncDispose]();
});

/** Once the server has seen the end of every connection it knows all that was sent. */
async function nothingArrived(): Promise<void> {
  await eventually(
    'every connection is closed',
    () => vcenter.connections > 0 && vcenter.openConnections === 0,
  );
  expect(vcenter.bytesReceived).toBe(0);
}

/** A TCP server that does with a connection what the test says. */
async function plainServer(
  onConnection: (socket: Socket) => void,
): Promise<AsyncDisposable & { endpoint: string; server: Server }> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    server,
    endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}

describeScripted('the certificate of a vCenter', () => {
  test('is read without sending anything', async () => {
    expect(await fetchThumbprints(vcenter.endpoint)).toEqual(vcenter.thumbprints);
    await nothingArrived();
  });

  test('is accepted by SHA-256 and by SHA-1, however it is written', async () => {
    const { sha1, sha256 } = vcenter.thumbprints;
    for (const thumbprint of [sha256, sha1, sha1.toLowerCase(), sha256.replaceAll(':', '').toLowerCase()]) {
      await using session = await connectTo(vcenter, { thumbprint });
      expect(session.thumbprints).toEqual(vcenter.thumbprints);
    }
  });

  test('another one is refused before a byte is sent, and both are named', async () => {
    const thumbprint = '00'.repeat(32);
    const error = await failureOf(connectTo(vcenter, { thumbprint }));
    expect(error.code).toBe('vcenter_thumbprint_mismatch');
    expect(error.context).toMatchObject({
      endpoint: vcenter.endpoint,
      expected: thumbprint.replace(/(..)(?=.)/g, '$1:'),
      presented: vcenter.thumbprints.sha256,
    });
    expect(vcenter.connections).toBe(1);
    await nothingArrived();
  });

  test('without a pin nothing is sent, and the thumbprints are shown for confirmation', async () => {
    const error = await failureOf(connectTo(vcenter, { thumbprint: '' }));
    expect(error.code).toBe('vcenter_thumbprint_unconfirmed');
    expect(error.context).toMatchObject({
      thumbprint_sha256: vcenter.thumbprints.sha256,
      thumbprint_sha1: vcenter.thumbprints.sha1,
    });
    await nothingArrived();
  });

  test('is checked again on every new connection of a session', async () => {
    const session = await connectTo(vcenter);
    const port = Number(vcenter.endpoint.split(':')[1]);
    await vcenter[Symbol.asyncDispose]();
    vcenter = await ScriptedVCenter.start(port);
    const error = await failureOf(session.listVirtualMachines());
    expect(error.code).toBe('vcenter_thumbprint_mismatch');
    await session[Symbol.asyncDispose]();
    await nothingArrived();
  });
});

describeScripted('a vCenter that cannot be reached', () => {
  const unreachable = async (endpoint: string, requestTimeoutMs = 60_000) => {
    const error = await failureOf(connectTo(vcenter, { endpoint, requestTimeoutMs }));
    expect(error).toMatchObject({ code: 'vcenter_unreachable', retryable: true });
    expect(error.context['endpoint']).toBe(endpoint);
    return error.message;
  };

  test('connection refused', async () => {
    const server = await plainServer(() => undefined);
    await server[Symbol.asyncDispose]();
    expect(await unreachable(server.endpoint)).toMatch(/connection refused/);
  });

  test('no such name', async () => {
    expect(await unreachable('vcenter.invalid:443')).toMatch(/cannot be resolved/);
  });

  test('it takes the connection and says nothing', async () => {
    await using server = await plainServer(() => undefined);
    expect(await unreachable(server.endpoint, 200)).toMatch(/no (connection|complete answer) within/);
  });

  test('it closes the connection', async () => {
    await using server = await plainServer((socket) => socket.destroy());
    expect(await unreachable(server.endpoint)).toMatch(/closed|reset/);
  });

  test('it drops the connection instead of answering', async () => {
    vcenter.on('RetrieveServiceContent', drop);
    expect(await unreachable(vcenter.endpoint)).toMatch(/reset|closed/);
  });

  test('it breaks off in the middle of an answer', async () => {
    vcenter.on('RetrieveServiceContent', {
      act: (request, response) => {
        response.writeHead(200, { 'content-length': 1000 });
        response.write('<half', () => request.socket.destroy());
      },
    });
    await unreachable(vcenter.endpoint);
  });

  test('it takes too long', async () => {
    vcenter.on('RetrieveServiceContent', hang);
    expect(await unreachable(vcenter.endpoint, 300)).toMatch(/within 0.3 s/);
  });

  test('it sends byte after byte and never ends', async () => {
    vcenter.on('RetrieveServiceContent', {
      act: (request, response) => {
        const timer = setInterval(() => response.write(' '), 20);
        request.socket.once('close', () => {
          clearInterval(timer);
        });
      },
    });
    expect(await unreachable(vcenter.endpoint, 300)).toMatch(/no complete answer/);
  });

  test('a gateway answers for it', async () => {
    vcenter.on('RetrieveServiceContent', { raw: '503 Service Unavailable (Failed to connect)', status: 503 });
    expect(await unreachable(vcenter.endpoint)).toMatch(/HTTP 503/);
  });
});

describeScripted('something that is no vCenter', () => {
  test.each<[string, Answer]>([
    ['a web page', { raw: '<!DOCTYPE html><html><body>Welcome</body></html>' }],
    ['not found', { raw: 'not found', status: 404 }],
    ['a redirection', { raw: '', status: 302, headers: { location: 'https://elsewhere/' } }],
    ['nothing', { raw: '' }],
    ['noise', { raw: Buffer.from([0xff, 0xfe, 0x00, 0x3c, 0x80]) }],
    ['XML that is no SOAP', { raw: '<html/>' }],
    ['half an envelope', { raw: soap('<x/>').slice(0, -10) }],
    ['an empty body', { raw: soap('') }],
    ['the answer to something else', { raw: soap('<LogoutResponse xmlns="urn:vim25"/>') }],
    ['an answer without content', values()],
    ['an answer with too little', values('<returnval/>')],
  ])('%s', async (_name, answer) => {
    vcenter.on('RetrieveServiceContent', answer);
    const error = await failureOf(connectTo(vcenter));
    expect(error.code).toBe('vcenter_protocol');
    expect(`${error.message} ${String(error.cause)}`).not.toContain(PASSWORD);
  });

  test('an answer without end is given up before it fills the memory', async () => {
    const mebibyte = Buffer.alloc(1 << 20, 0x20);
    let sent = 0;
    vcenter.on('RetrieveServiceContent', {
      act: (request, response) => {
        const more = () => {
          while (!request.socket.destroyed && response.write(mebibyte)) sent++;
        };
        response.on('drain', more);
        more();
      },
    });
    const error = await failureOf(connectTo(vcenter));
    expect(error.code).toBe('vcenter_protocol');
    expect(error.message).toMatch(/larger than 64 MiB/);
    expect(sent).toBeLessThan(100);
  });

  test('a server that speaks no TLS', async () => {
    await using server = await plainServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    expect((await failureOf(connectTo(vcenter, { endpoint: server.endpoint }))).code).toBe(
      'vcenter_protocol',
    );
  });

  test('a login that opens no session', async () => {
    vcenter.on('Login', values('<returnval/>'));
    expect((await failureOf(connectTo(vcenter))).code).toBe('vcenter_protocol');
  });
});

describeScripted('cancelling', () => {
  test('while connecting', async () => {
    vcenter.on('RetrieveServiceContent', hang);
    const stop = new AbortController();
    const connecting = failureOf(connectTo(vcenter, { signal: stop.signal }));
    stop.abort();
    expect((await connecting).code).toBe('cancelled');
  });

  test('before anything began', async () => {
    const error = await failureOf(connectTo(vcenter, { signal: AbortSignal.abort() }));
    expect(error.code).toBe('cancelled');
    expect(vcenter.connections).toBe(0);
  });
});
