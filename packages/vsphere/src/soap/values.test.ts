import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { errorCode } from '@sendense/core';
import { readBoolean, readDate, readInteger, readReference, readSize, readText } from './values.js';
import { XmlElement } from './xml.js';

const element = (text: string, referenceType?: string) =>
  new XmlElement('thing', undefined, referenceType, [], text);

describe('reading values', () => {
  test('what is unset is undefined', () => {
    for (const read of [readText, readBoolean, readInteger, readSize, readDate, readReference]) {
      expect(read(undefined)).toBeUndefined();
    }
  });

  test('each type', () => {
    expect(readBoolean(element(' true '))).toBe(true);
    expect(readBoolean(element('0'))).toBe(false);
    expect(readInteger(element('-1'))).toBe(-1);
    expect(readSize(element('9007199254740991'))).toBe(Number.MAX_SAFE_INTEGER);
    expect(readDate(element('2026-11-21T08:43:01.5+01:00'))?.toISOString()).toBe('2026-11-21T07:43:01.500Z');
    expect(readReference(element('vm-57', 'VirtualMachine'))).toEqual({
      type: 'VirtualMachine',
      value: 'vm-57',
    });
  });

  test.each([
    [readBoolean, 'yes'],
    [readInteger, '1.5'],
    [readInteger, '1e3'],
    [readInteger, '99999999999999999999'],
    [readSize, '-1'],
    [readSize, '9007199254740992'],
    [readSize, '0x10'],
    [readSize, ''],
    [readDate, 'yesterday'],
    [readReference, 'vm-57'],
    [readReference, ''],
  ])('%p refuses %j', (read, text) => {
    let code;
    try {
      read(element(text));
    } catch (error) {
      code = errorCode(error);
    }
    expect(code).toBe('vcenter_protocol');
  });

  test('a structure where text should be is refused', () => {
    expect(() => readText(new XmlElement('name', undefined, undefined, [element('x')], ''))).toThrow(
      /malformed/,
    );
  });

  test('any text is read or refused', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.constantFrom(readBoolean, readInteger, readSize, readDate),
        (text, read) => {
          try {
            return read(element(text)) !== undefined;
          } catch (error) {
            return errorCode(error) === 'vcenter_protocol';
          }
        },
      ),
    );
  });
});
