import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { errorCode, SendenseError } from '@sendense/core';
import { checkPin, parsePin } from './thumbprints.js';

const presented = {
  sha256: Array.from({ length: 32 }, () => 'AB').join(':'),
  sha1: Array.from({ length: 20 }, () => 'CD').join(':'),
};
const endpoint = { host: 'vc', port: 443, label: 'vc:443' };

describe('a pinned thumbprint', () => {
  test.each([
    presented.sha256,
    presented.sha1,
    presented.sha256.toLowerCase(),
    presented.sha1.replaceAll(':', ''),
    presented.sha256.replaceAll(':', '').toLowerCase(),
    ` ${presented.sha1.replaceAll(':', ' ')}\n`,
  ])('%j lets its certificate pass', (text) => {
    expect(() => {
      checkPin(endpoint, parsePin(text), presented);
    }).not.toThrow();
  });

  test('another certificate is refused, and both thumbprints are named', () => {
    const other = 'EF'.repeat(32);
    try {
      checkPin(endpoint, parsePin(other), presented);
      throw new Error('passed');
    } catch (error) {
      expect(errorCode(error)).toBe('vcenter_thumbprint_mismatch');
      const { context, message } = error as SendenseError;
      expect(context).toMatchObject({
        endpoint: 'vc:443',
        expected: other.replace(/(..)(?=.)/g, '$1:'),
        presented: presented.sha256,
      });
      expect(message).toContain(context['expected']);
      expect(message).toContain(context['presented']);
    }
  });

  test('of the other algorithm is not compared with the wrong one', () => {
    expect(() => {
      checkPin(endpoint, parsePin('AB'.repeat(20)), presented);
    }).toThrow(/another certificate/);
  });

  test('that is none is refused', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          return /^[0-9A-F:]+$/.test(parsePin(text).thumbprint);
        } catch (error) {
          return errorCode(error) === 'invalid_argument';
        }
      }),
    );
    expect(() => parsePin('G'.repeat(40))).toThrow(SendenseError);
  });
});
