import { XMLParser } from 'fast-xml-parser';

/** Deeper than any reply of vSphere: snapshots nest 32 levels at most. */
const MAX_DEPTH = 100;

/** One element of a reply: names without their prefixes, children always a list, text decoded. */
export class XmlElement {
  constructor(
    readonly name: string,
    /** The type that `xsi:type` names, without its prefix: `VirtualDisk`, `string`, `ArrayOfVirtualDevice`. */
    readonly xsiType: string | undefined,
    /** The `type` of a reference to a managed object. */
    readonly referenceType: string | undefined,
    readonly children: readonly XmlElement[],
    readonly text: string,
  ) {}

  /** The first child of this name. */
  child(name: string): XmlElement | undefined {
    return this.children.find((child) => child.name === name);
  }

  all(name: string): XmlElement[] {
    return this.children.filter((child) => child.name === name);
  }

  /** Follows first children: `find('deviceInfo', 'label')`. */
  find(...names: string[]): XmlElement | undefined {
    return names.reduce<XmlElement | undefined>((found, name) => found?.child(name), this);
  }
}

/** What the parser yields with `preserveOrder`: one key that is the element's name, and `:@` for its attributes. */
type ParsedNode = Record<string, unknown>;

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: false,
  attributeNamePrefix: '',
  parseTagValue: false,
  trimValues: false,
  // Entities are decoded here, and only those that XML itself defines.
  processEntities: false,
  cdataPropName: '#cdata',
  ignoreDeclaration: true,
  ignorePiTags: true,
  maxNestedTags: MAX_DEPTH,
  jPath: false,
});

/**
 * Reads a document and returns its root. A document type declaration is refused, and with it every entity of its own.
 * @throws Error, which says what is wrong with the document without repeating it
 */
export function parseXml(document: string): XmlElement {
  const text = document.replace(/^\uFEFF/, '').trimStart();
  if (!text.startsWith('<')) throw new Error('it is no XML');
  if (/<!(?!--|\[CDATA\[)/.test(text)) throw new Error('it declares a document type, which SOAP forbids');
  let nodes: ParsedNode[];
  try {
    nodes = parser.parse(text, true) as ParsedNode[];
  } catch (cause) {
    throw new Error('it is no well-formed XML', { cause });
  }
  const roots = nodes.map((node) => toElement(node)).filter((element) => element !== undefined);
  const [root] = roots;
  if (root === undefined || roots.length > 1) throw new Error('it is no XML document with one root');
  return root;
}

function toElement(node: ParsedNode): XmlElement | undefined {
  const tag = Object.keys(node).find((key) => key !== ':@');
  if (tag === undefined || tag.startsWith('#')) return undefined;
  const content = node[tag] as ParsedNode[];
  const attributes = Object.entries((node[':@'] ?? {}) as Record<string, string>);
  const xsiType = attributes.find(([name]) => name.endsWith(':type'))?.[1];
  const referenceType = attributes.find(([name]) => name === 'type')?.[1];
  return new XmlElement(
    withoutPrefix(tag),
    xsiType === undefined ? undefined : withoutPrefix(decodeEntities(xsiType)),
    referenceType === undefined ? undefined : decodeEntities(referenceType),
    content.map((child) => toElement(child)).filter((child) => child !== undefined),
    content.map((child) => textOf(child)).join(''),
  );
}

function textOf(node: ParsedNode): string {
  const text = node['#text'];
  if (typeof text === 'string') return decodeEntities(text);
  const cdata = node['#cdata'];
  if (!Array.isArray(cdata)) return '';
  return (cdata as { '#text'?: string }[]).map((part) => part['#text'] ?? '').join('');
}

function withoutPrefix(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}

const ENTITIES: Record<string, string> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function decodeEntities(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(
    /&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(lt|gt|amp|quot|apos));|&/g,
    (_, decimal, hex, name) => {
      if (name !== undefined) return ENTITIES[String(name)] ?? '';
      if (decimal === undefined && hex === undefined) throw new Error('it holds an unknown entity');
      const code = decimal === undefined ? Number.parseInt(String(hex), 16) : Number(decimal);
      if (code === 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
        throw new Error('it holds a character reference that names no character');
      }
      return String.fromCodePoint(code);
    },
  );
}
