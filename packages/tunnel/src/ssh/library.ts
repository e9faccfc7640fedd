// ssh2 is CommonJS and shows only some of its names to ES modules: this is the one place that takes it apart.
import crypto from 'node:crypto';
import { createRequire } from 'node:module';
import type * as Ssh2 from 'ssh2';
import { holdWhileYoung } from './cipher-lifetime.js';
import { pooledRandomFill } from './random-pool.js';

/**
 * ssh2 asks OpenSSL for the few random bytes of padding of every packet, which costs a twentieth of all that sending takes.
 * It keeps the function that it finds while it is loaded: then it finds one that asks for 64 KiB at a time, and ciphers
 * that live long enough. Nobody else gets to see the former.
 */
function loadSsh2(): { readonly ssh2: typeof Ssh2; readonly ciphers: Ssh2Ciphers } {
  const { randomFillSync } = crypto;
  crypto.randomFillSync = pooledRandomFill(randomFillSync);
  try {
    const require = createRequire(import.meta.url);
    const ciphers = require('ssh2/lib/protocol/crypto.js') as Ssh2Ciphers;
    const { createCipher, createDecipher } = ciphers;
    ciphers.createCipher = (config) => holdWhileYoung(createCipher(config));
    ciphers.createDecipher = (config) => holdWhileYoung(createDecipher(config));
    return { ssh2: require('ssh2') as typeof Ssh2, ciphers };
  } finally {
    crypto.randomFillSync = randomFillSync;
  }
}

/** Where ssh2 makes what encrypts and decrypts packets; not part of its interface. */
export interface Ssh2Ciphers {
  /** Whether its native add-on was built. */
  readonly bindingAvailable: boolean;
  readonly CIPHER_INFO: Readonly<Record<string, { readonly keyLen: number; readonly ivLen: number }>>;
  createCipher: (config: object) => object;
  createDecipher: (config: object) => object;
}

const { ssh2, ciphers } = loadSsh2();
export const { Client, Server, utils } = ssh2;
export { ciphers };

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
