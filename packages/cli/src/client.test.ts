import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { ApiClient } from './client.js';

describe('a hub that does not answer', () => {
  it.each([
    ['keeps silent', () => undefined, /has not answered for 0\.3 s\. If it took the request/],
    [
      'stops in the middle of its answer',
      (response: ServerResponse) => void response.write('{"backups":['),
      /has not answered for 0\.3 s/,
    ],
    [
      'is something else',
      (response: ServerResponse) => void response.end('<html>'),
      /is not the hub's API: is this its address/,
    ],
  ])('is given up: %s', async (_, answer, message) => {
    const server = createServer((_request, response) => answer(response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      await expect(new ApiClient(url, undefined, 300).post('/api/v1/backups')).rejects.toMatchObject({
        ...{ status: 0, code: 'hub_unreachable', message: expect.stringMatching(message) },
      });
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});
