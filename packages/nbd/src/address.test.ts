import { describe, expect, it } from '@jest/globals';
import { errorCode } from '@sendense/core';
import fc from 'fast-check';
import { formatNbdTargets, formatNbdUrl, parseNbdTargets, parseNbdUrl, type NbdUrl } from './index.js';

const host = fc.oneof(
  fc.ipV4(),
  fc.ipV6().filter((address) => !address.includes('.')),
  fc.domain().filter((name) => /^[A-Za-z0-9._-]+$/.test(name)),
);
const anyName = fc
  .string({ unit: 'binary', maxLength: 60 })
  .map((name) => name.replaceAll('\0', '').toWellFormed());
const url: fc.Arbitrary<NbdUrl> = fc.record({
  address: fc.oneof(
    fc.record({ kind: fc.constant('tcp' as const), host, port: fc.integer({ min: 1, max: 65_535 }) }),
    fc.record({ kind: fc.constant('unix' as const), path: anyName.map((path) => `/run/${path}`) }),
  ),
  exportName: anyName,
});

describe('NBD URLs', () => {
  it('reads the forms that people write', () => {
    expect(parseNbdUrl('nbd://127.0.0.1:10100/pgtest1-disk0')).toEqual({
      address: { kind: 'tcp', host: '127.0.0.1', port: 10_100 },
      exportName: 'pgtest1-disk0',
    });
    expect(parseNbdUrl('nbd://backup.example')).toEqual({
      address: { kind: 'tcp', host: 'backup.example', port: 10_809 },
      exportName: '',
    });
    expect(parseNbdUrl('nbd://[::1]:10100/a%20b').address).toEqual({
      kind: 'tcp',
      host: '::1',
      port: 10_100,
    });
    expect(parseNbdUrl('nbd+unix:///disk?socket=/run/nbd.sock')).toEqual({
      address: { kind: 'unix', path: '/run/nbd.sock' },
      exportName: 'disk',
    });
  });

  it.each([
    '',
    'http://127.0.0.1/x',
    'nbd:///x',
    'nbd://host:0/x',
    'nbd://host:65536/x',
    'nbd://host:1:2/x',
    'nbd://user@host/x',
    'nbd://host/%ff',
    'nbd://host/a%00b',
    'nbd://host/x?socket=/run/x',
    'nbds://host/x',
    'nbd+unix:///x',
    'nbd+unix:///x?socket=',
    'nbd+unix://host/x?socket=/run/x',
    `nbd://host/${'a'.repeat(4097)}`,
  ])('refuses %p', (text) => {
    expect(() => parseNbdUrl(text)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('reads back whatever it writes', () => {
    fc.assert(
      fc.property(url, (value) => {
        expect(parseNbdUrl(formatNbdUrl(value))).toEqual(value);
      }),
    );
  });

  it('answers any text with a result or with invalid_argument', () => {
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc
        .array(
          fc.constantFrom('nbd', '+unix', '://', '/', ':', ',', '2000', '?socket=', '%', '[', ']', '1', 'a'),
        )
        .map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(text, (value) => {
        for (const parse of [parseNbdUrl, parseNbdTargets]) {
          try {
            parse(value);
          } catch (error) {
            expect(errorCode(error)).toBe('invalid_argument');
          }
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('NBD targets', () => {
  it('reads the string that the hub answers a backup with', () => {
    const text = '2000:nbd://127.0.0.1:10100/pgtest1-disk0,2001:nbd://127.0.0.1:10101/pgtest1-disk1';
    const targets = parseNbdTargets(text);
    expect(targets.map((target) => [target.diskKey, target.exportName])).toEqual([
      [2000, 'pgtest1-disk0'],
      [2001, 'pgtest1-disk1'],
    ]);
    expect(formatNbdTargets(targets)).toBe(text);
  });

  it.each([
    '',
    '2000',
    '2000:',
    'a:nbd://h/x',
    '-1:nbd://h/x',
    '2147483648:nbd://h/x',
    '1:nbd://h/x,',
    '1:nbd://h/x, 2:nbd://h/y',
  ])('refuses %p', (text) => {
    expect(() => parseNbdTargets(text)).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('refuses a disk or an export that is named twice', () => {
    expect(() => parseNbdTargets('1:nbd://h/x,1:nbd://h/y')).toThrow(/disk key 1 twice/);
    expect(() => parseNbdTargets('1:nbd://h/x,2:nbd://h:10809/x')).toThrow(/export .* twice/);
  });

  it('reads back whatever it writes', () => {
    const targets = fc.uniqueArray(fc.tuple(fc.nat(2 ** 31 - 1), url), {
      minLength: 1,
      maxLength: 8,
      selector: ([diskKey]) => diskKey,
    });
    fc.assert(
      fc.property(targets, (list) => {
        const values = list.map(([diskKey, { address, exportName }]) => ({
          diskKey,
          address,
          exportName: `${exportName}-${diskKey}`,
        }));
        expect(parseNbdTargets(formatNbdTargets(values))).toEqual(values);
      }),
    );
  });
});
