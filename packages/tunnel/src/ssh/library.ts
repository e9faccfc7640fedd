// ssh2 is CommonJS and shows only some of its names to ES modules: this is the one place that takes it apart.
import crypto from 'node:crypto';
import { createRequire } from 'node:module';
import type * as Ssh2 from 'ssh2';
import { pooledRandomFill } from './random-pool.js';

/**
 * ssh2 asks OpenSSL for the few random bytes of padding of every packet, which costs a twentieth of all that sending takes.
 * It keeps the function that it finds while it is loaded: then it finds one that asks for 64 KiB at a time. Nobody else
 * gets to see it.
 */
function loadSsh2(): typeof Ssh2 {
  const { randomFillSync } = crypto;
  crypto.randomFillSync = pooledRandomFill(randomFillSync);
  try {
    return createRequire(import.meta.url)('ssh2') as typeof Ssh2;
  } finally {
    crypto.randomFillSync = randomFillSync;
  }
}

export const { Client, Server, utils } = loadSsh2();

export type {
  AuthContext,
  Channel,
  Client as SshClient,
  Connection as SshConnection,
  KeyboardAuthContext,
  PublicKeyAuthContext,
  Session as SshSession,
  TcpipRequestInfo,
} from 'ssh2';
