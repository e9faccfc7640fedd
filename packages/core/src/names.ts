/**
 * Names of VMs and repositories come from strangers. They are stored and shown as they are; wherever they become a path,
 * an NBD export, a process argument or an id, they go through {@link slug}.
 */

const MAX_SLUG_LENGTH = 48;

/**
 * A name that is safe as one path component, NBD export and id: `[a-z0-9._-]`, starts with a letter or digit, at most
 * 48 characters, never empty. Names that lose something on the way get a short hash, so that different names stay apart.
 * Letters keep their case (`PGTest1` stays `PGTest1`).
 */
export function slug(name: string): string {
  const kept = name
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/\.{2,}/g, '.')
    .replace(/^[^A-Za-z0-9]+/, '')
    .replace(/[^A-Za-z0-9]+$/, '');
  if (kept === name && kept.length > 0 && kept.length <= MAX_SLUG_LENGTH) return kept;
  const suffix = hash32(name);
  const room = MAX_SLUG_LENGTH - suffix.length - 1;
  const short = kept.slice(0, room).replace(/[^A-Za-z0-9]+$/, '');
  return short === '' ? `x-${suffix}` : `${short}-${suffix}`;
}

/** FNV-1a over the UTF-16 units, twice with different seeds: enough to keep names apart, not a security measure. */
function hash32(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x01000193;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    a = Math.imul(a ^ unit, 0x01000193);
    b = Math.imul(b ^ unit, 0x85ebca6b) ^ (b >>> 13);
  }
  return ((a >>> 0).toString(36) + (b >>> 0).toString(36)).slice(0, 8);
}

/** `20261121-084316`, in UTC. */
export function timestampName(at: Date): string {
  return at.toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 15);
}

/** For log lines, tables and messages: control characters and line breaks made visible, so that a name cannot forge a line. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (code === 0x200d) return character; // joins emoji
    if (character === '\n') return '\\n';
    if (character === '\r') return '\\r';
    if (character === '\t') return '\\t';
    return `\\u{${code.toString(16)}}`;
  });
}
