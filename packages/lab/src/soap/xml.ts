import { XMLParser } from 'fast-xml-parser';

/** An element of a request: names without prefixes, children in order, text decoded. */
export interface XmlElement {
  readonly name: string;
  /** What `xsi:type` names, without its prefix. */
  readonly xsiType: string | undefined;
  /** The `type` of a reference to a managed object. */
  readonly referenceType: string | undefined;
  readonly children: readonly XmlElement[];
  readonly text: string;
}

type ParsedNode = Record<string, unknown>;

const parser = new XMLParser({
  preserveOrder: true,
  ignoreAttributes: false,
  attributeNamePrefix: '',
  parseTagValue: false,
  trimValues: false,
  processEntities: false,
  ignoreDeclaration: true,
  ignorePiTags: true,
  maxNestedTags: 100,
  jPath: false,
});

/** @throws Error for what is no well-formed document or declares a document type */
export function parseXml(document: string): XmlElement {
  if (/<!(?!--|\[CDATA\[)/.test(document)) throw new Error('a document type declaration is not allowed');
  const roots = (parser.parse(document, true) as ParsedNode[]).flatMap((node) => toElements(node));
  const [root, ...others] = roots;
  if (!root || others.length > 0) throw new Error('not one root element');
  return root;
}

export function child(element: XmlElement, name: string): XmlElement | undefined {
  return element.children.find((candidate) => candidate.name === name);
}

export function children(element: XmlElement, name: string): XmlElement[] {
  return element.children.filter((candidate) => candidate.name === name);
}

function toElements(node: ParsedNode): XmlElement[] {
  const tag = Object.keys(node).find((key) => key !== ':@');
  if (tag === undefined || tag.startsWith('#')) return [];
  const content = node[tag] as ParsedNode[];
  const attributes = Object.entries((node[':@'] ?? {}) as Record<string, string>);
  const xsiType = attributes.find(([name]) => name.endsWith(':type'))?.[1];
  const element: XmlElement = {
    name: withoutPrefix(tag),
    xsiType: xsiType === undefined ? undefined : withoutPrefix(xsiType),
    referenceType: attributes.find(([name]) => name === 'type')?.[1],
    children: content.flatMap((part) => toElements(part)),
    text: content.map((part) => ('#text' in part ? decodeEntities(String(part['#text'])) : '')).join(''),
  };
  return [element];
}

function withoutPrefix(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}

const NAMED: Record<string, string> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function decodeEntities(text: string): string {
  return text.replace(
    /&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(\w+));/g,
    (whole, decimal?: string, hex?: string, name?: string) => {
      if (name !== undefined) {
        const character = NAMED[name];
        if (character === undefined) throw new Error(`an unknown entity: ${whole}`);
        return character;
      }
      return String.fromCodePoint(decimal === undefined ? Number.parseInt(hex ?? '', 16) : Number(decimal));
    },
  );
}
