import { printable, safeOffset, SendenseError } from '@sendense/core';
import type { ManagedObject } from './markup.js';
import type { XmlElement } from './xml.js';

// Readers of single values. Each returns undefined for an element that is not there, because vSphere leaves out what is
// unset, and throws `vcenter_protocol` for one that holds something else than its type allows.

export function readText(element: XmlElement | undefined): string | undefined {
  if (element === undefined) return undefined;
  if (element.children.length > 0) throw malformed(element, 'text');
  return element.text;
}

export function readBoolean(element: XmlElement | undefined): boolean | undefined {
  const text = readText(element)?.trim();
  if (element === undefined || text === undefined) return undefined;
  if (text === 'true' || text === '1') return true;
  if (text === 'false' || text === '0') return false;
  throw malformed(element, 'a boolean');
}

/** A whole number that JavaScript can hold exactly; device keys may be negative. */
export function readInteger(element: XmlElement | undefined): number | undefined {
  const text = readText(element)?.trim();
  if (element === undefined || text === undefined) return undefined;
  const number = Number(text);
  if (!/^-?\d+$/.test(text) || !Number.isSafeInteger(number)) throw malformed(element, 'a whole number');
  return number;
}

/** A number of bytes, an offset, … from 0 up. */
export function readSize(element: XmlElement | undefined): number | undefined {
  const text = readText(element)?.trim();
  if (element === undefined || text === undefined) return undefined;
  if (!/^\d{1,19}$/.test(text)) throw malformed(element, 'a size');
  try {
    return safeOffset(BigInt(text), element.name);
  } catch (cause) {
    throw malformed(element, 'a size that can be handled', cause);
  }
}

export function readDate(element: XmlElement | undefined): Date | undefined {
  const text = readText(element)?.trim();
  if (element === undefined || text === undefined) return undefined;
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) throw malformed(element, 'a time');
  return date;
}

export function readReference(element: XmlElement | undefined): ManagedObject | undefined {
  if (element === undefined) return undefined;
  const value = readText(element)?.trim() ?? '';
  if (!element.referenceType || value === '') throw malformed(element, 'a reference to an object');
  return { type: element.referenceType, value };
}

/** The value, or `vcenter_protocol` when vSphere left out what its schema requires. */
export function required<T>(value: T | undefined, what: string): T {
  if (value !== undefined) return value;
  throw new SendenseError('vcenter_protocol', `the answer of vCenter lacks ${what}`);
}

function malformed(element: XmlElement, expected: string, cause?: unknown): SendenseError {
  const shown = printable(element.text.slice(0, 60));
  return new SendenseError(
    'vcenter_protocol',
    `the answer of vCenter is malformed: ${printable(element.name)} should be ${expected}, and is "${shown}"`,
    { cause },
  );
}
