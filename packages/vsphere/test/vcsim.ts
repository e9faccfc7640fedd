import { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import { once } from 'node:events';
import { ChildProcess, silentLogger } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import type { Thumbprints } from '../src/types.js';

export interface Vcsim extends AsyncDisposable {
  readonly endpoint: string;
  /** Read from its certificate without the code under test. */
  readonly thumbprints: Thumbprints;
}

/** govmomi's simulator of a vCenter, on a free port, with one user and one password. */
export async function startVcsim(options: {
  readonly username: string;
  readonly password: string;
  readonly args?: readonly string[];
}): Promise<Vcsim> {
  let endpoint: string | undefined;
  const child = await ChildProcess.spawn(
    'vcsim',
    [
      '-l',
      '127.0.0.1:0',
      '-username',
      options.username,
      '-password',
      options.password,
      ...(options.args ?? []),
    ],
    {
      name: 'vcsim',
      owner: `test:${process.pid}`,
      log: silentLogger,
      filterLine: (line) => {
        endpoint ??= /GOVC_URL=https:\/\/[^@]*@([^/]+)\/sdk/.exec(line)?.[1];
        return line;
      },
    },
  );
  try {
    const address = await eventually('vcsim has said where it listens', () => {
      if (!child.running) throw child.failure('process_failed', 'vcsim ended');
      return endpoint;
    });
    return {
      endpoint: address,
      thumbprints: await certificateThumbprints(address),
      [Symbol.asyncDispose]: async () => child[Symbol.asyncDispose](),
    };
  } catch (error) {
    await child.terminate();
    throw error;
  }
}

async function certificateThumbprints(address: string): Promise<Thumbprints> {
  const [host, port] = address.split(':');
  const socket = connect({ host: host!, port: Number(port), rejectUnauthorized: false });
  try {
    await once(socket, 'secureConnect');
    const certificate = new X509Certificate(socket.getPeerCertificate().raw);
    return { sha256: certificate.fingerprint256, sha1: certificate.fingerprint };
  } finally {
    socket.destroy();
  }
}
