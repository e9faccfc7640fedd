import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { SendenseError } from '@sendense/core';
import { utils } from './ssh/library.js';

const KEY_TYPE = 'ssh-ed25519';
const PEM_LINE = /.{1,70}/g;
/** Unencrypted private sections are padded to this (PROTOCOL.key in the OpenSSH sources). */
const PADDING_BLOCK_BYTES = 8;

export interface Ed25519Key {
  /** OpenSSH private key format, not encrypted: for `ssh -i` and for this package. */
  readonly privateKeyPem: string;
  /** `ssh-ed25519 AAAA…` */
  readonly publicKey: string;
}

/**
 * A new key. Made with Node's crypto and written out here, because ssh2's own generator now and then returns a key that
 * ssh2 itself calls malformed.
 */
export function generateEd25519Key(comment = 'sendense'): Ed25519Key {
  const { d, x } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
  if (d === undefined || x === undefined) throw new SendenseError('internal', 'the new key has no numbers');
  const [seed, point] = [Buffer.from(d, 'base64url'), Buffer.from(x, 'base64url')];
  const publicBlob = Buffer.concat([sshString(KEY_TYPE), sshString(point)]);
  return {
    privateKeyPem: opensshPem(publicBlob, seed, point, comment),
    publicKey: `${KEY_TYPE} ${publicBlob.toString('base64')}`,
  };
}

/**
 * The public half (`ssh-ed25519 AAAA…`) of a private key.
 *
 * @throws `invalid_argument` when it is not an unencrypted ed25519 key in OpenSSH format
 */
export function publicKeyOf(privateKeyPem: string): string {
  const key = utils.parseKey(privateKeyPem);
  if (key instanceof Error || key.type !== KEY_TYPE || !key.isPrivateKey()) {
    throw new SendenseError(
      'invalid_argument',
      'the private key is not an ed25519 key in OpenSSH format without passphrase: make one with ssh-keygen -t ed25519 -N ""',
    );
  }
  return `${KEY_TYPE} ${key.getPublicSSH().toString('base64')}`;
}

/**
 * `SHA256:…` of a public key (`ssh-ed25519 AAAA…`) or of its blob, as `ssh-keygen -l` shows it.
 *
 * @throws `invalid_argument` when the text is not a public key
 */
export function keyFingerprint(publicKey: string | Buffer): string {
  const blob =
    typeof publicKey === 'string' ? Buffer.from(publicKey.split(' ')[1] ?? '', 'base64') : publicKey;
  if (blob.length === 0) {
    throw new SendenseError('invalid_argument', 'the public key is not of the form "ssh-ed25519 AAAA…"');
  }
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
}

/** PROTOCOL.key in the OpenSSH sources, with cipher and key derivation "none" and one key. */
function opensshPem(publicBlob: Buffer, seed: Buffer, point: Buffer, comment: string): string {
  const check = randomBytes(4);
  const secret = Buffer.concat([
    check,
    check,
    sshString(KEY_TYPE),
    sshString(point),
    sshString(Buffer.concat([seed, point])),
    sshString(comment),
  ]);
  const padding = (PADDING_BLOCK_BYTES - (secret.length % PADDING_BLOCK_BYTES)) % PADDING_BLOCK_BYTES;
  const body = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    sshString('none'),
    sshString('none'),
    sshString(''),
    uint32(1),
    sshString(publicBlob),
    sshString(Buffer.concat([secret, Buffer.from(Array.from({ length: padding }, (_, index) => index + 1))])),
  ]);
  const lines = body.toString('base64').match(PEM_LINE) ?? [];
  return ['-----BEGIN OPENSSH PRIVATE KEY-----', ...lines, '-----END OPENSSH PRIVATE KEY-----', ''].join(
    '\n',
  );
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** RFC 4251, section 5: a length and that many bytes. */
function sshString(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([uint32(bytes.length), bytes]);
}
