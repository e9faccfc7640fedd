import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { makeEnrolmentToken, parseEnrolmentToken } from './enrolment-token.js';

const TOKEN = {
  nodeName: 'node-1',
  secret: 'Zm9vYmFy-_=',
  hostKeyFingerprint: `SHA256:${'aB3+/'.repeat(9).slice(0, 43)}`,
};

describe('an enrolment token', () => {
  it('is one word that gives back what was put in', () => {
    const text = makeEnrolmentToken(TOKEN);
    expect(text).toMatch(/^sdn1\.[A-Za-z0-9_-]+$/);
    expect(parseEnrolmentToken(text)).toEqual(TOKEN);
    expect(parseEnrolmentToken(`  ${text}\n`)).toEqual(TOKEN);
  });

  it('is not made of what could not be read again', () => {
    const wrong = [
      { nodeName: 'Node 1' },
      { secret: '' },
      { secret: 'a b' },
      { hostKeyFingerprint: 'MD5:x' },
    ];
    for (const part of wrong) {
      expect(() => makeEnrolmentToken({ ...TOKEN, ...part })).toThrow(/enrolment token/);
    }
  });

  it('that was cut off, altered or made up is refused without being shown', () => {
    const text = makeEnrolmentToken(TOKEN);
    const damaged = fc.oneof(
      fc.integer({ min: 0, max: text.length - 2 }).map((length) => text.slice(0, length)),
      fc.string({ maxLength: 3000 }),
      fc.string({ maxLength: 3000 }).map((rest) => `sdn1.${rest}`),
      fc.json().map((json) => `sdn1.${Buffer.from(json).toString('base64url')}`),
    );
    fc.assert(
      fc.property(damaged, (input) => {
        try {
          // A cut in the last character's spare bits may leave the token whole.
          expect(parseEnrolmentToken(input)).toEqual(TOKEN);
        } catch (error) {
          expect(error).toMatchObject({ code: 'invalid_argument' });
          expect(String(error)).not.toContain(TOKEN.secret);
        }
      }),
    );
  });
});
