import { SendenseError } from '@sendense/core';

/** Where an NBD server listens. */
export type NbdAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

/** One export of one server. */
export interface NbdUrl {
  readonly address: NbdAddress;
  readonly exportName: string;
}

/** The export that a disk is written to, by VMware's device key. */
export interface NbdTarget extends NbdUrl {
  readonly diskKey: number;
}

/** The port when a URL names none (IANA). */
export const NBD_DEFAULT_PORT = 10809;

/** An export name is a string of at most this many bytes (NBD protocol, "Values"). */
const MAX_EXPORT_NAME_BYTES = 4096;

/** `127.0.0.1:10100` or `unix:/run/x.sock`, for logs and errors. */
export function describeAddress(address: NbdAddress): string {
  return address.kind === 'unix' ? `unix:${address.path}` : `${hostInUrl(address.host)}:${address.port}`;
}

/**
 * Reads `nbd://HOST[:PORT]/EXPORT` or `nbd+unix:///EXPORT?socket=PATH`, percent-encoded as the NBD URI specification
 * says (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md).
 *
 * @throws `invalid_argument` for anything else
 */
export function parseNbdUrl(text: string): NbdUrl {
  const invalid = (why: string) =>
    new SendenseError(
      'invalid_argument',
      `'${text}' is no NBD URL: ${why}; expected nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH`,
    );
  const match = /^(nbd|nbd\+unix):\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(text);
  if (!match) throw invalid('it has another form');
  const [, scheme, authority = '', rawName = '', query] = match;
  const exportName = decode(rawName);
  if (exportName === undefined || exportName.includes('\0'))
    throw invalid('the export name is not percent-encoded UTF-8 without NUL');
  if (Buffer.byteLength(exportName) > MAX_EXPORT_NAME_BYTES) throw invalid('the export name is too long');
  if (scheme === 'nbd+unix') {
    const path = decode(/^socket=([^&]+)$/.exec(query ?? '')?.[1] ?? '');
    if (!path || authority !== '') throw invalid('it names no socket');
    if (path.includes('\0')) throw invalid('its socket path holds a NUL');
    return { address: { kind: 'unix', path }, exportName };
  }
  if (query !== undefined) throw invalid('nbd:// takes no parameters');
  const place = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(authority);
  const host = place?.[1] ?? place?.[2];
  if (host === undefined) throw invalid('it names no host');
  const port = place?.[3] === undefined ? NBD_DEFAULT_PORT : Number(place[3]);
  if (port < 1 || port > 65_535) throw invalid('its port is not from 1 to 65535');
  return { address: { kind: 'tcp', host, port }, exportName };
}

export function formatNbdUrl({ address, exportName }: NbdUrl): string {
  const name = encode(exportName);
  return address.kind === 'unix'
    ? `nbd+unix:///${name}?socket=${encode(address.path)}`
    : `nbd://${hostInUrl(address.host)}:${address.port}/${name}`;
}

/**
 * Reads `2000:nbd://127.0.0.1:10100/pgtest1-disk0,2001:nbd://…`, the string that the hub answers a backup with.
 *
 * @throws `invalid_argument`, also when a disk or an export is named twice
 */
export function parseNbdTargets(text: string): NbdTarget[] {
  const targets = text.split(',').map((part): NbdTarget => {
    const match = /^(\d{1,10}):(.+)$/.exec(part);
    const diskKey = Number(match?.[1]);
    if (!match?.[2] || diskKey > 2 ** 31 - 1) {
      throw new SendenseError(
        'invalid_argument',
        `'${part}' is no NBD target: expected DISKKEY:nbd://HOST:PORT/EXPORT, several joined by commas`,
      );
    }
    return { diskKey, ...parseNbdUrl(match[2]) };
  });
  refuseTwice('disk key', targets, (target) => String(target.diskKey));
  refuseTwice('export', targets, formatNbdUrl);
  return targets;
}

export function formatNbdTargets(targets: readonly NbdTarget[]): string {
  return targets.map((target) => `${target.diskKey}:${formatNbdUrl(target)}`).join(',');
}

function refuseTwice(
  what: string,
  targets: readonly NbdTarget[],
  identify: (target: NbdTarget) => string,
): void {
  const seen = new Set<string>();
  for (const target of targets) {
    const id = identify(target);
    if (seen.has(id)) throw new SendenseError('invalid_argument', `the NBD targets name ${what} ${id} twice`);
    seen.add(id);
  }
}

function hostInUrl(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** Also encodes the comma, which separates targets, and what encodeURIComponent leaves although RFC 3986 reserves it. */
function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
