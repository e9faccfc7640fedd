import { createHash, randomBytes } from 'node:crypto';

/** 256 random bits: too many to guess, so that a plain hash of it is enough to keep. */
export function randomSecret(prefix = ''): string {
  return prefix + randomBytes(32).toString('base64url');
}

export function secretHash(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}
