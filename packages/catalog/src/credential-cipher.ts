import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { SendenseError } from '@sendense/core';
import type { CredentialKeys } from './credential-keys.js';

const VERSION = 'v1';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Encrypts a secret for one row: `v1.<key id>.<nonce>.<ciphertext>.<tag>`, AES-256-GCM. */
export function seal(keys: CredentialKeys, rowId: string, secret: string): string {
  const { id, bytes } = keys.newest;
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', bytes, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(boundTo(rowId));
  const encrypted = Buffer.concat([cipher.update(secret, 'utf8'), cipher.final()]);
  return [
    VERSION,
    id,
    ...[nonce, encrypted, cipher.getAuthTag()].map((part) => part.toString('base64url')),
  ].join('.');
}

/** @throws `credentials_unreadable` when the key is not there, or the text was changed or belongs to another row */
export async function unseal(keys: CredentialKeys, rowId: string, sealed: string): Promise<string> {
  const [version, keyId = '', nonce = '', encrypted = '', tag = '', ...rest] = sealed.split('.');
  if (version !== VERSION || rest.length > 0)
    throw unreadable(rowId, 'was stored in a form that this build does not know', 'enter it again');
  const key = await keys.find(keyId);
  if (!key)
    throw unreadable(
      rowId,
      `was encrypted with the key ${keyId}, which is not in ${keys.path}`,
      'put the key file back from your copy, or enter the password again',
    );
  try {
    const decipher = createDecipheriv('aes-256-gcm', key.bytes, Buffer.from(nonce, 'base64url'), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(boundTo(rowId));
    decipher.setAuthTag(Buffer.from(tag, 'base64url'));
    return Buffer.concat([decipher.update(Buffer.from(encrypted, 'base64url')), decipher.final()]).toString(
      'utf8',
    );
  } catch (error) {
    throw unreadable(
      rowId,
      'does not fit its key and its row: one of them was changed',
      'enter it again',
      error,
    );
  }
}

/** A ciphertext that is moved to another row does not decrypt there. */
function boundTo(rowId: string): Buffer {
  return Buffer.from(`sendense ${VERSION} vmware_credentials ${rowId}`);
}

function unreadable(rowId: string, what: string, fix: string, cause?: unknown): SendenseError {
  return new SendenseError('credentials_unreadable', `the password of ${rowId} ${what}: ${fix}`, {
    cause,
    context: { vcenter_id: rowId },
  });
}
