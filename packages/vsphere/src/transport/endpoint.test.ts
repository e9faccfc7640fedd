import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { errorCode, SendenseError } from '@sendense/core';
import { parseEndpoint } from './endpoint.js';

describe('an endpoint', () => {
  test.each([
    ['vc.example.com', 'vc.example.com', 443, 'vc.example.com:443'],
    [' vc.example.com ', 'vc.example.com', 443, 'vc.example.com:443'],
    ['vc:8443', 'vc', 8443, 'vc:8443'],
    ['https://vc', 'vc', 443, 'vc:443'],
    ['https://vc:8989/sdk', 'vc', 8989, 'vc:8989'],
    ['HTTPS://vc/', 'vc', 443, 'vc:443'],
    ['10.0.0.7/sdk/', '10.0.0.7', 443, '10.0.0.7:443'],
    ['::1', '::1', 443, '[::1]:443'],
    ['[fe80::1]:8443', 'fe80::1', 8443, '[fe80::1]:8443'],
  ])('%s', (text, host, port, label) => {
    expect(parseEndpoint(text)).toEqual({ host, port, label });
  });

  test.each([
    '',
    'http://vc',
    'ldap://vc',
    'vc:0',
    'vc:65536',
    'vc:',
    'vc:443:443',
    '[vc]:443',
    'vc example',
    'vc/other',
    '-vc',
    'vc\nevil',
    'https://',
    'a'.repeat(300),
  ])('%j is refused', (text) => {
    expect(() => parseEndpoint(text)).toThrow(SendenseError);
  });

  test('one that carries a password is refused without repeating it', () => {
    try {
      parseEndpoint('https://root:geheim@vc/sdk');
      throw new Error('accepted');
    } catch (error) {
      expect(errorCode(error)).toBe('invalid_argument');
      expect(String(error)).not.toContain('geheim');
    }
  });

  test('any text is either understood or refused', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.webUrl(), fc.ipV6(), fc.domain()), (text) => {
        try {
          const { host, port } = parseEndpoint(text);
          return host.length > 0 && port >= 1 && port <= 65_535 && !/[\s@/]/.test(host);
        } catch (error) {
          return errorCode(error) === 'invalid_argument';
        }
      }),
    );
  });
});
