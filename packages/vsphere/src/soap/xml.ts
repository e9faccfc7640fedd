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

/**
 * Reads a document and returns its root. A document type declaration is refused, and with it every entity of its own.
 * @throws Error, which says what is wrong with the document without repeating it
 */
export function parseXml(document: string): XmlElement {
  const text = document.replace(/^\uFEFF/, '').trimStart();
  if (!text.startsWith('<')) throw new Error('it is no XML');
  if (/<!(?!--|\[CDATA\[)/.test(text)) throw new Error('it declares a document type, which SOAP forbids');
  // What XML 1.0 (2.11) makes of every kind of line end.
  return new Reader(text.includes('\r') ? text.replace(/\r\n?/g, '\n') : text).read();
}

/** An element whose end has not come yet. */
interface OpenElement {
  /** With its prefix, as its end must repeat it. */
  readonly tag: string;
  readonly xsiType: string | undefined;
  readonly referenceType: string | undefined;
  readonly children: XmlElement[];
  text: string;
}

// Sticky: each matches exactly where the reader stands. Names are those of XML 1.0 (2.3) but for some exotic exceptions.
const NAME = /[A-Za-z_:\u00c0-\uffff][-\w.:\u00b7-\uffff]*/y;
const ATTRIBUTE = /\s+([A-Za-z_:\u00c0-\uffff][-\w.:\u00b7-\uffff]*)\s*=\s*(?:"([^"<]*)"|'([^'<]*)')/y;
const TAG_END = /\s*(\/?)>/y;

/**
 * One pass over the document, no more objects than elements: the changed areas of one disk are 150 000 elements, and the
 * client that reads them has just been started, so that nothing of its code is compiled yet.
 */
class Reader {
  readonly #open: OpenElement[] = [];
  #root: XmlElement | undefined;
  #at = 0;

  /** @param text free of document type declarations and carriage returns */
  constructor(private readonly text: string) {}

  read(): XmlElement {
    const { text } = this;
    while (this.#at < text.length) {
      const next = text.indexOf('<', this.#at);
      this.#addText(text.slice(this.#at, next === -1 ? text.length : next), true);
      if (next === -1) break;
      this.#at = next;
      this.#readMarkup();
    }
    if (this.#open.length > 0) throw malformed('an element does not end');
    if (this.#root === undefined) throw malformed('it has no element');
    return this.#root;
  }

  #readMarkup(): void {
    const second = this.text.charAt(this.#at + 1);
    if (second === '/') this.#readEnd();
    else if (second === '?') this.#skipPast('?>', 2);
    else if (second !== '!') this.#readStart();
    else if (this.text.startsWith('<!--', this.#at)) this.#skipPast('-->', 4);
    else this.#addText(this.#skipPast(']]>', '<![CDATA['.length), false);
  }

  #readStart(): void {
    this.#at++;
    const tag = this.#match(NAME)?.[0];
    if (tag === undefined) throw malformed('an element has no name');
    const { xsiType, referenceType } = this.#readAttributes();
    const end = this.#match(TAG_END);
    if (!end) throw malformed('a tag does not end');
    const element = { tag, xsiType, referenceType, children: [], text: '' };
    if (end[1] === '/') {
      this.#close(element);
      return;
    }
    if (this.#open.length === MAX_DEPTH) throw malformed(`it nests deeper than ${MAX_DEPTH} elements`);
    this.#open.push(element);
  }

  #readAttributes(): Pick<OpenElement, 'xsiType' | 'referenceType'> {
    let xsiType: string | undefined;
    let referenceType: string | undefined;
    // Nearly every element of a long reply has none.
    if (this.text.charAt(this.#at) === '>') return { xsiType, referenceType };
    const names = new Set<string>();
    for (let found = this.#match(ATTRIBUTE); found; found = this.#match(ATTRIBUTE)) {
      const [, name = '', quoted, quotedSingly] = found;
      if (names.has(name)) throw malformed('an attribute is given twice');
      names.add(name);
      const value = decodeEntities(quoted ?? quotedSingly ?? '');
      if (name === 'type') referenceType = value;
      else if (name.endsWith(':type')) xsiType ??= withoutPrefix(value);
    }
    return { xsiType, referenceType };
  }

  #readEnd(): void {
    const element = this.#open.pop();
    const start = this.#at + 2;
    if (!element || !this.text.startsWith(element.tag, start)) throw malformed('an end matches no start');
    this.#at = start + element.tag.length;
    if (this.#match(TAG_END)?.[1] !== '') throw malformed('an end matches no start');
    this.#close(element);
  }

  #close({ tag, xsiType, referenceType, children, text }: OpenElement): void {
    const element = new XmlElement(withoutPrefix(tag), xsiType, referenceType, children, text);
    const parent = this.#open.at(-1);
    if (parent) {
      parent.children.push(element);
      return;
    }
    if (this.#root) throw malformed('it has more than one root');
    this.#root = element;
  }

  #addText(text: string, decode: boolean): void {
    if (text === '') return;
    const parent = this.#open.at(-1);
    if (parent) parent.text += decode ? decodeEntities(text) : text;
    else if (!decode || text.trim() !== '') throw malformed('there is text outside of its root');
  }

  /** @returns what stands between the start, of this many characters, and the end */
  #skipPast(end: string, startLength: number): string {
    const from = this.#at + startLength;
    const found = this.text.indexOf(end, from);
    if (found === -1) throw malformed(`there is no ${end}`);
    this.#at = found + end.length;
    return this.text.slice(from, found);
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.text);
    if (found) this.#at = pattern.lastIndex;
    return found;
  }
}

function malformed(why: string): Error {
  return new Error(`it is no well-formed XML: ${why}`);
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
