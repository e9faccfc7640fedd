import type { DataObject, List, Value } from './value.js';
import type { VimFault } from './fault.js';

const ENVELOPE_START =
  '<?xml version="1.0" encoding="UTF-8"?>\n' +
  '<soapenv:Envelope xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/" ' +
  'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" ' +
  'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n<soapenv:Body>\n';
const ENVELOPE_END = '\n</soapenv:Body>\n</soapenv:Envelope>';

/**
 * The answer to a call.
 * @param value a list becomes several `returnval` elements
 * @param typed the schema says "any" here, so that the value's type goes along
 */
export function answer(method: string, value: Value | undefined, typed = false): string {
  const content = value === undefined ? '' : element('returnval', value, typed);
  return `${ENVELOPE_START}<${method}Response xmlns="urn:vim25">${content}</${method}Response>${ENVELOPE_END}`;
}

/** The answer of a call that failed, as vCenter gives it with HTTP status 500. */
export function faultAnswer(fault: VimFault): string {
  const { type, fields } = fault.detail;
  const detail = Object.entries(fields).map(([name, value]) =>
    value === undefined ? '' : element(name, value),
  );
  return (
    `${ENVELOPE_START}<soapenv:Fault><faultcode>ServerFaultCode</faultcode>` +
    `<faultstring>${escape(fault.message)}</faultstring><detail>` +
    `<${type}Fault xmlns="urn:vim25" xsi:type="${type}">${detail.join('')}</${type}Fault>` +
    `</detail></soapenv:Fault>${ENVELOPE_END}`
  );
}

/** One element, or for a list one for each item; with `typed`, a list is one element of type `ArrayOf…`. */
export function element(name: string, value: Value, typed = false): string {
  switch (value.kind) {
    case 'scalar':
      return `<${name}${typed ? ` xsi:type="${value.type}"` : ''}>${escape(value.text)}</${name}>`;
    case 'reference': {
      const type = typed ? ' xsi:type="ManagedObjectReference"' : '';
      return `<${name} type="${value.type}"${type}>${escape(value.moref)}</${name}>`;
    }
    case 'object':
      return objectElement(name, value, typed || value.subtype);
    case 'list':
      return typed ? arrayElement(name, value) : value.items.map((item) => element(name, item)).join('');
    default:
      return value satisfies never;
  }
}

function objectElement(name: string, { type, fields }: DataObject, typed: boolean): string {
  const content = Object.entries(fields).map(([field, value]) =>
    // The properties of objects, results of tasks and the like may be anything: they carry their type.
    value === undefined ? '' : element(field, value, ANY_FIELDS.has(`${type}.${field}`)),
  );
  return `<${name}${typed ? ` xsi:type="${type}"` : ''}>${content.join('')}</${name}>`;
}

function arrayElement(name: string, { of, items }: List): string {
  const item = of.replace(/^xsd:/, '');
  const array = `ArrayOf${item.charAt(0).toUpperCase()}${item.slice(1)}`;
  return `<${name} xsi:type="${array}">${items.map((one) => element(item, one, true)).join('')}</${name}>`;
}

/** Where the schema says `anyType`, or only the base of all faults. */
const ANY_FIELDS = new Set([
  'DynamicProperty.val',
  'PropertyChange.val',
  'TaskInfo.result',
  'LocalizedMethodFault.fault',
  'OptionValue.value',
]);

const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\r': '&#xD;',
};

function escape(content: string): string {
  return content.replace(/[&<>"\r]/g, (character) => ESCAPES[character] ?? character);
}
