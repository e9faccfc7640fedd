import { createServer, type AddressInfo } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { naming, portHolder } from './port-holder.js';

describe('who holds a port', () => {
  it('is named by process id and program', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    try {
      expect(await portHolder(port)).toMatch(new RegExp(`^process ${process.pid} \\(`));
      const refused = naming(port, 'SENDENSE_API_LISTEN', async () => {
        throw new SendenseError('port_in_use', 'taken');
      });
      await expect(refused).rejects.toMatchObject({
        code: 'port_in_use',
        message: expect.stringMatching(
          new RegExp(`process ${process.pid} .*Stop it, or set SENDENSE_API_LISTEN`),
        ),
      });
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
    expect(await portHolder(port)).toBeUndefined();
  });
});
