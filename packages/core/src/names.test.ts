import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { printable, slug, timestampName } from './names.js';

describe('names', () => {
  it('leaves ordinary names alone', () => {
    expect(slug('pgtest1')).toBe('pgtest1');
    expect(slug('PG_Test-1.local')).toBe('PG_Test-1.local');
  });

  it('makes any name a safe path component that stays apart from others', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 300 }),
        fc.string({ unit: 'binary', maxLength: 300 }),
        (a, b) => {
          expect(slug(a)).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$/);
          expect(slug(a)).not.toContain('..');
          if (a !== b) expect(slug(a)).not.toBe(slug(b));
        },
      ),
      { numRuns: 2000 },
    );
    const hostile = [
      '..',
      '../../etc/passwd',
      'a b',
      'a/b',
      "a'b",
      'a\nb',
      '🙂',
      'a'.repeat(300),
      '',
      '-rf',
      '.hidden',
    ];
    expect(new Set(hostile.map(slug)).size).toBe(hostile.length);
  });

  it('cannot forge a log line', () => {
    expect(printable('a\nlevel=error \u001b[31m')).toBe('a\\nlevel=error \\u{1b}[31m');
  });

  it('writes times as people know them', () => {
    expect(timestampName(new Date('2026-11-21T08:43:16.5Z'))).toBe('20261121-084316');
  });
});
