import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { answer } from './writer.js';
import { list, object, subtype, text } from './value.js';
import { child, parseXml } from './xml.js';

/** What XML 1.0 can carry; a carriage return alone would come back as a line feed if it were not escaped. */
const carried = fc
  .string({ unit: 'grapheme' })
  .filter((name) => !/[^\P{Cc}\t\n\r\u007f-\u009f]|[\ufffe\uffff]/u.test(name));

describe('SOAP documents', () => {
  it('carry any text there and back', () => {
    fc.assert(
      fc.property(carried, (name) => {
        const root = parseXml(answer('Fetch', text(name), true));
        const value = child(child(child(root, 'Body')!, 'FetchResponse')!, 'returnval')!;
        expect(value).toMatchObject({ text: name, xsiType: 'string' });
      }),
    );
  });

  it('carry the type of a value where the schema does not tell it', () => {
    const device = subtype('VirtualDisk', {
      key: text('2000'),
      backing: object('Backing', { file: text('a') }),
    });
    expect(answer('Fetch', list('VirtualDevice', [device]), true)).toContain(
      '<returnval xsi:type="ArrayOfVirtualDevice"><VirtualDevice xsi:type="VirtualDisk"><key>2000</key>' +
        '<backing><file>a</file></backing></VirtualDevice></returnval>',
    );
    expect(answer('List', list('VirtualDevice', [device, device]))).toContain(
      '</backing></returnval><returnval xsi:type="VirtualDisk">',
    );
  });

  it('are refused when they are broken, declare entities, or hold several roots, and never crash the reader', () => {
    for (const wrong of ['', '<a>', '<a/><b/>', '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', '<a>&x;</a>']) {
      expect(() => parseXml(wrong)).toThrow();
    }
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((inner) => `<a b="${inner}">${inner}</a>`),
        ),
        (document) => {
          try {
            expect(typeof parseXml(document).name).toBe('string');
          } catch (error) {
            expect(error).toBeInstanceOf(Error);
          }
        },
      ),
    );
  });
});
