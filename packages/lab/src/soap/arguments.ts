import { invalidArgument } from './fault.js';
import { reference, type Reference } from './value.js';
import { child, children, type XmlElement } from './xml.js';

// Readers of a call's arguments, each by name. A missing or malformed one is the client's mistake: InvalidArgument.

export function optionalText(from: XmlElement, name: string): string | undefined {
  return child(from, name)?.text;
}

export function requiredText(from: XmlElement, name: string): string {
  const found = optionalText(from, name);
  if (found === undefined) throw invalidArgument(name);
  return found;
}

export function texts(from: XmlElement, name: string): string[] {
  return children(from, name).map((element) => element.text);
}

export function flag(from: XmlElement, name: string): boolean | undefined {
  const found = optionalText(from, name)?.trim();
  if (found === undefined) return undefined;
  if (!['true', 'false', '1', '0'].includes(found)) throw invalidArgument(name);
  return found === 'true' || found === '1';
}

/** A whole number that JavaScript can hold exactly. */
export function wholeNumber(from: XmlElement, name: string): number | undefined {
  const found = optionalText(from, name)?.trim();
  if (found === undefined) return undefined;
  const value = Number(found);
  if (!/^-?\d+$/.test(found) || !Number.isSafeInteger(value)) throw invalidArgument(name);
  return value;
}

export function optionalReference(from: XmlElement, name: string): Reference | undefined {
  const found = child(from, name);
  if (!found) return undefined;
  if (found.referenceType === undefined) throw invalidArgument(name);
  return reference(found.referenceType, found.text.trim());
}

export function requiredReference(from: XmlElement, name: string): Reference {
  const found = optionalReference(from, name);
  if (!found) throw invalidArgument(name);
  return found;
}
