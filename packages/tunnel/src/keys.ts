import { SendenseError } from '@sendense/core';

export interface Ed25519Key {
  /** OpenSSH private key format: for `ssh -i` and for this package. */
  readonly privateKeyPem: string;
  /** `ssh-ed25519 AAAA…` */
  readonly publicKey: string;
}

export function generateEd25519Key(): Ed25519Key {
  throw new SendenseError('internal', 'not built yet');
}

/** `SHA256:…` of a public key or of the public half of a private key, as ssh-keygen -l shows it. */
export function keyFingerprint(_key: string): string {
  throw new SendenseError('internal', 'not built yet');
}

/** The public half (`ssh-ed25519 AAAA…`) of a private key. */
export function publicKeyOf(_privateKeyPem: string): string {
  throw new SendenseError('internal', 'not built yet');
}
