import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { secretFilter } from './secret-filter.js';

describe('what is shown of stderr', () => {
  it('never holds the secret, in whatever words around it', () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 4, maxLength: 40 }),
        fc.string({ maxLength: 40 }),
        fc.string({ maxLength: 40 }),
        (secret, before, after) => {
          expect(secretFilter(secret)(before + secret + after)).toBeUndefined();
        },
      ),
    );
  });

  it('drops assignments and escaped forms', () => {
    const filter = secretFilter(`p&ss<"word>'`);
    for (const line of [
      'password = something',
      'Cookie: vmware_soap_session="52"',
      '<password>p&amp;ss&lt;&quot;word&gt;&apos;</password>',
      "user:p%26ss%3C%22word%3E'@host",
    ])
      expect(filter(line)).toBeUndefined();
  });

  it('keeps the reason of a refused login', () => {
    const line =
      'VixDiskLibVim: Login failure: Cannot complete login due to an incorrect user name or password.';
    expect(secretFilter('geheim')(line)).toBe(line);
    expect(secretFilter('in')(line)).toBe(line);
    expect(secretFilter('in')("got 'in' instead")).toBeUndefined();
    expect(secretFilter('')(line)).toBe(line);
  });
});
