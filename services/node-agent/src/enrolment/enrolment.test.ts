import { chmodSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { enrolmentPath, keyPath, parseIdentity, readEnrolment } from './enrolment.js';

const identity = {
  nodeName: 'sna1',
  hub: { host: 'hub.example.com', port: 443, hostKeyFingerprint: 'SHA256:abc' },
  enrolledAt: '2026-11-21T03:00:00.000Z',
};

describe('the enrolment of a node', () => {
  it('is read with its key', async () => {
    using folder = temporaryDirectory();
    writeFileSync(enrolmentPath(folder.path), JSON.stringify(identity));
    writeFileSync(keyPath(folder.path), 'the key', { mode: 0o600 });
    expect(await readEnrolment(folder.path)).toMatchObject({ nodeName: 'sna1', privateKeyPem: 'the key' });
  });

  it('says what to do when there is none', async () => {
    using folder = temporaryDirectory();
    await expect(readEnrolment(folder.path)).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining('sendense-node enrol'),
    });
  });

  it('refuses a key that others can read, with the command that mends it', async () => {
    using folder = temporaryDirectory();
    writeFileSync(enrolmentPath(folder.path), JSON.stringify(identity));
    writeFileSync(keyPath(folder.path), 'the key');
    chmodSync(keyPath(folder.path), 0o640);
    await expect(readEnrolment(folder.path)).rejects.toMatchObject({
      code: 'permission_denied',
      message: expect.stringContaining('chmod 600'),
    });
  });

  it.each([
    'not json',
    '[]',
    'null',
    '{}',
    JSON.stringify({ ...identity, nodeName: '../x' }),
    JSON.stringify({ ...identity, hub: { ...identity.hub, port: 70_000 } }),
    JSON.stringify({ ...identity, hub: { ...identity.hub, hostKeyFingerprint: '' } }),
    JSON.stringify({ ...identity, enrolledAt: 'yesterday' }),
  ])('is damaged: %s', (content) => {
    expect(parseIdentity(content)).toBeUndefined();
  });

  it('is read or damaged, whatever the file holds', () => {
    const nearly = fc.record(
      { nodeName: fc.anything(), hub: fc.anything(), enrolledAt: fc.anything() },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          nearly.map((value) => JSON.stringify(value) ?? ''),
        ),
        (content) => {
          const found = parseIdentity(content);
          if (found) expect(Number.isNaN(found.enrolledAt.getTime())).toBe(false);
        },
      ),
    );
  });
});
