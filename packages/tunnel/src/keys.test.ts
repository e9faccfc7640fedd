import { describe, expect, it } from '@jest/globals';
import { generateEd25519Key, keyFingerprint, publicKeyOf } from './keys.js';
import { utils } from './ssh/library.js';

describe('keys', () => {
  it('that are generated load in ssh2, sign, and are all different', () => {
    const seen = new Set<string>();
    for (let count = 0; count < 500; count++) {
      const { privateKeyPem, publicKey } = generateEd25519Key();
      const key = utils.parseKey(privateKeyPem);
      if (key instanceof Error) throw key;
      const data = Buffer.from('what is signed');
      expect(key.verify(data, key.sign(data))).toBe(true);
      expect(publicKeyOf(privateKeyPem)).toBe(publicKey);
      seen.add(publicKey);
    }
    expect(seen.size).toBe(500);
  });

  it('have the fingerprint that ssh-keygen shows', () => {
    const publicKey = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl';
    // GitHub's published host key.
    expect(keyFingerprint(publicKey)).toBe('SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU');
    expect(keyFingerprint(`${publicKey} comment`)).toBe(keyFingerprint(publicKey));
    expect(() => keyFingerprint('nonsense')).toThrow(/not of the form/);
  });

  it('of another kind are refused with the command that makes the right one', () => {
    expect(() => publicKeyOf('-----BEGIN PRIVATE KEY-----\n')).toThrow(/ssh-keygen -t ed25519/);
    expect(() => publicKeyOf('')).toThrow(/ssh-keygen -t ed25519/);
  });
});
