import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Shorter would be found by chance in random data. */
const MIN_LENGTH = 12;

/** Secrets that can be recognised wherever they turn up: as they are, and in the disguises that programs give them. */
export class PlantedSecrets {
  readonly #needles: { readonly name: string; readonly bytes: Buffer }[] = [];

  /** @param secret of characters that JSON, XML and URLs write as they are, or any bytes */
  plant(name: string, secret: string | Buffer): void {
    const bytes = Buffer.from(secret as string);
    if (bytes.length < MIN_LENGTH) throw new Error(`${name} is too short to be recognised`);
    this.#needles.push({ name, bytes });
    this.#needles.push({
      name: `${name}, in UTF-16`,
      bytes: Buffer.from(bytes.toString('latin1'), 'utf16le'),
    });
    this.#needles.push({ name: `${name}, in hexadecimal`, bytes: Buffer.from(bytes.toString('hex')) });
    for (const [disguise, text] of base64Within(bytes))
      this.#needles.push({ name: `${name}, in ${disguise}`, bytes: Buffer.from(text) });
  }

  /** Each form as text of one line, for grep, with what it is. */
  get patterns(): readonly { readonly name: string; readonly text: string }[] {
    return this.#needles
      .filter(({ bytes }) => /^[\x20-\x7e]+$/.test(bytes.toString('latin1')))
      .map(({ name, bytes }) => ({ name, text: bytes.toString('latin1') }));
  }

  /** The names of those that are in there. */
  in(content: Buffer | string): string[] {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    return this.#needles.filter((needle) => bytes.includes(needle.bytes)).map(({ name }) => name);
  }

  /**
   * The files below a directory that hold one, by their path below it, each with the names.
   *
   * @param homes paths below it where a secret belongs
   */
  inFiles(directory: string, homes: readonly string[]): Record<string, string[]> {
    const found: Record<string, string[]> = {};
    for (const path of filesBelow(directory)) {
      if (homes.some((home) => path === home || path.startsWith(`${home}/`))) continue;
      const names = [...this.in(path), ...this.in(contentOf(join(directory, path)))];
      if (names.length > 0) found[path] = names;
    }
    return found;
  }
}

/** What base64 makes of the secret inside of something longer, without the characters that its neighbours share. */
function base64Within(bytes: Buffer): [string, string][] {
  return [0, 1, 2].flatMap((shift): [string, string][] => {
    const all = Buffer.concat([Buffer.alloc(shift), bytes, Buffer.alloc(2)]);
    const from = Math.ceil((shift * 8) / 6);
    const to = Math.floor(((shift + bytes.length) * 8) / 6);
    const cut = (encoding: 'base64' | 'base64url') => all.toString(encoding).slice(from, to);
    return [
      ['base64', cut('base64')],
      ['base64url', cut('base64url')],
    ];
  });
}

/** Every file, with its path; sockets and the like have no content. */
export function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1));
}

function contentOf(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    // It was there a moment ago.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0);
    throw error;
  }
}
