import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { dataObject, envelope, reference, value } from './markup.js';
import { parseXml, XmlElement } from './xml.js';

describe('reading XML', () => {
  test('prefixes are dropped, lists are lists, and both kinds of type are kept apart', () => {
    const root = parseXml(
      '<?xml version="1.0"?>\n<s:a xmlns:s="x" xmlns:xsi="y"><b xsi:type="v:C" type="D">t</b><b>u</b><!-- no --><e/></s:a>\n',
    );
    expect(root.name).toBe('a');
    expect(root.all('b').map((b) => [b.xsiType, b.referenceType, b.text])).toEqual([
      ['C', 'D', 't'],
      [undefined, undefined, 'u'],
    ]);
    expect(root.find('e')?.text).toBe('');
    expect(root.find('b', 'nothing')).toBeUndefined();
  });

  test('text is decoded once and keeps its spaces', () => {
    const root = parseXml('<a> &lt;b&gt; &amp;lt; &#228;&#x1F600; <![CDATA[&amp;<i>]]>\n</a>');
    expect(root.text).toBe(' <b> &lt; ä😀 &amp;<i>\n');
  });

  test('line ends of every kind are one character, unless they are escaped', () => {
    expect(parseXml('<a>1\r\n2\r3&#xD;</a>').text).toBe('1\n2\n3\r');
  });

  test('what stands around and inside of tags is no content', () => {
    const root = parseXml(
      '<?xml version="1.0"?><!-- <b> --><a\n x = "1"\ty=\'"\' ><?pi <b> ?><b type=\'&lt;\' /></a\n>\n',
    );
    expect(root.children.map(({ name, referenceType }) => [name, referenceType])).toEqual([['b', '<']]);
    expect(root.text).toBe('');
  });

  test('a byte order mark is not in the way', () => {
    expect(parseXml('\uFEFF<a/>').name).toBe('a');
  });

  test.each([
    ['', 'no XML'],
    ['nonsense', 'no XML'],
    ['<a>', 'well-formed'],
    ['<a></b>', 'well-formed'],
    ['<a/><b/>', 'well-formed|one root'],
    ['<a/>text', 'well-formed'],
    ['<a/><![CDATA[text]]>', 'well-formed'],
    ['<!-- only a comment -->', 'well-formed'],
    ['<a><b></a></b>', 'well-formed'],
    ['<ab></a>', 'well-formed'],
    ['<a></ab>', 'well-formed'],
    ['<a></a/>', 'well-formed'],
    ['<a', 'well-formed'],
    ['< a/>', 'well-formed'],
    ['<1/>', 'well-formed'],
    ['<a b/>', 'well-formed'],
    ['<a b=c/>', 'well-formed'],
    ['<a b="c/>', 'well-formed'],
    ['<a b="<"/>', 'well-formed'],
    ['<a b="1"c="2"/>', 'well-formed'],
    ['<a b="1" b="2"/>', 'well-formed'],
    ['<a><!-- </a>', 'well-formed'],
    ['<a><![CDATA[ </a>', 'well-formed'],
    ['<a><? </a>', 'well-formed'],
    ['<a>&unknown;</a>', 'unknown entity'],
    ['<a b="&unknown;"/>', 'unknown entity'],
    ['<a>&#0;</a>', 'no character'],
    ['<a>&#xD800;</a>', 'no character'],
    ['<a>&#x110000;</a>', 'no character'],
    ['<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>', 'document type'],
    ['<a><!DOCTYPE b></a>', 'document type'],
    ['<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', 'document type'],
    ['<a>'.repeat(200) + '</a>'.repeat(200), 'well-formed'],
    [`${'<a>'.repeat(100_000)}${'</a>'.repeat(100_000)}`, 'well-formed'],
  ])('%.40j is refused', (document, reason) => {
    expect(() => parseXml(document)).toThrow(new RegExp(reason));
  });

  test.each(['constructor', '__proto__', 'hasOwnProperty', 'toString'])(
    'an element %s does no harm',
    (name) => {
      try {
        expect(parseXml(`<a><${name} type="x"/></a>`).children).toHaveLength(1);
      } catch (error) {
        expect(String(error)).toMatch(/well-formed/);
      }
      expect(({} as Record<string, unknown>)['type']).toBeUndefined();
    },
  );

  test('whatever arrives becomes a tree or an Error', () => {
    const token = fc.constantFrom(
      '<',
      '>',
      '/',
      '&',
      ';',
      '"',
      "'",
      '=',
      'a',
      'b:c',
      ' ',
      '<![CDATA[',
      ']]>',
      '<!--',
      '-->',
      '<?',
      '?>',
      '#x',
      '&amp;',
      '&#',
      'xsi:type',
      '<a>',
      '</a>',
      '__proto__',
      '#text',
      ':@',
      '\u0000',
      '<a b="',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(token).map((parts) => parts.join('')),
        ),
        (document) => {
          try {
            return parseXml(document) instanceof XmlElement;
          } catch (error) {
            return error instanceof Error;
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('writing XML', () => {
  const text = fc
    .string({ unit: 'binary' })
    .filter((s) => !/[^\P{Cc}\t\n\r\u007f-\u009f]|[\ufffe\uffff]/u.test(s));

  test('what is written is read back, whatever the text', () => {
    fc.assert(
      fc.property(text, text, (first, second) => {
        const document = envelope('Method', { type: 'T', value: first }, [
          value('text', second),
          dataObject(
            'spec',
            [value('flag', true), reference('object', { type: 'X', value: second })],
            'Special',
          ),
        ]);
        const method = parseXml(document).find('Body', 'Method')!;
        expect(method.children.map((child) => child.name)).toEqual(['_this', 'text', 'spec']);
        expect(method.child('_this')).toMatchObject({ text: first, referenceType: 'T' });
        expect(method.child('text')?.text).toBe(second);
        expect(method.child('spec')?.xsiType).toBe('Special');
        expect(method.find('spec', 'object')?.text).toBe(second);
      }),
    );
  });

  test.each(['\u0000', 'a\u0008b', '\uD800', '\uFFFF'])('%j cannot be said in XML and is refused', (bad) => {
    expect(() => value('name', bad)).toThrow(/control character/);
  });
});
