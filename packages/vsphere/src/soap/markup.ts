import { SendenseError } from '@sendense/core';

/** A reference to an object on the server: its type and its moref. */
export interface ManagedObject {
  readonly type: string;
  readonly value: string;
}

/** XML that is escaped already, so that text cannot be taken for it by mistake. */
export interface Markup {
  readonly markup: string;
}

/** `<name>value</name>`. Order matters wherever these are put together: the types of vSphere are sequences. */
export function value(name: string, content: string | number | boolean): Markup {
  return { markup: `<${name}>${escape(String(content))}</${name}>` };
}

/** `<name type="VirtualMachine">vm-57</name>` */
export function reference(name: string, object: ManagedObject): Markup {
  return { markup: `<${name} type="${escape(object.type)}">${escape(object.value)}</${name}>` };
}

/** A data object with its fields; `xsiType` where the schema declares only its base type. */
export function dataObject(name: string, fields: readonly Markup[], xsiType?: string): Markup {
  const type = xsiType === undefined ? '' : ` xsi:type="${xsiType}"`;
  return { markup: `<${name}${type}>${fields.map((field) => field.markup).join('')}</${name}>` };
}

/** The whole request: one method of one object. */
export function envelope(method: string, target: ManagedObject, parameters: readonly Markup[]): string {
  const content = [reference('_this', target), ...parameters].map((part) => part.markup).join('');
  return (
    '<?xml version="1.0" encoding="UTF-8"?>' +
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" ' +
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">' +
    `<soapenv:Body><${method} xmlns="urn:vim25">${content}</${method}></soapenv:Body></soapenv:Envelope>`
  );
}

const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\r': '&#13;',
};

function escape(text: string): string {
  // XML 1.0 has no way to write the other control characters, nor half a surrogate pair.
  if (/[^\P{Cc}\t\n\r\u007f-\u009f]|[\ufffe\uffff]/u.test(text) || !text.isWellFormed()) {
    throw new SendenseError(
      'invalid_argument',
      'a text for vCenter holds a control character that cannot be sent',
    );
  }
  return text.replace(/[&<>"\r]/g, (character) => ESCAPES[character] ?? character);
}
