import { printable, SendenseError } from '@sendense/core';
import type { NbdkitVddkOptions } from './nbdkit-vddk.js';

/** unix(7): sun_path holds 108 bytes, the last of them 0. */
const MAX_SOCKET_PATH_BYTES = 107;
const MOREF = /^[A-Za-z0-9-]{1,80}$/;
const TRANSPORTS = /^[a-z]+(:[a-z]+)*$/;
const SHA1 = /^[0-9a-f]{40}$/;

/** @throws `invalid_argument` for what would reach nbdkit as something else than was meant */
export function checkNbdkitOptions(o: NbdkitVddkOptions): void {
  const refuse = (what: string) => {
    throw new SendenseError('invalid_argument', what);
  };
  if (Buffer.byteLength(o.socketPath) > MAX_SOCKET_PATH_BYTES)
    refuse(
      `the socket path ${o.socketPath} is longer than ${MAX_SOCKET_PATH_BYTES} bytes: use a shorter SENDENSE_RUNTIME_DIR`,
    );
  if (!MOREF.test(o.vmMoref)) refuse(`'${printable(o.vmMoref)}' is not the moref of a VM`);
  if (!MOREF.test(o.snapshotMoref)) refuse(`'${printable(o.snapshotMoref)}' is not the moref of a snapshot`);
  if (o.transports !== undefined && !TRANSPORTS.test(o.transports))
    refuse(`'${printable(o.transports)}' is not a list of VDDK transports such as san:hotadd:nbdssl`);
  if (!SHA1.test(bareHex(o.thumbprintSha1)))
    refuse(`VDDK needs the SHA-1 thumbprint of ${printable(o.server)}'s certificate (40 hexadecimal digits)`);
  // nbdkit takes the first line of a password file.
  if (/[\r\n\0]/.test(o.password)) refuse('the password holds a line break, which VDDK cannot be given');
  for (const text of [o.server, o.username, o.diskFile, o.libdir ?? ''])
    if (text.includes('\0')) refuse('a parameter of nbdkit holds a NUL character');
}

/** Options of nbdkit(1) and nbdkit-vddk-plugin(1). The password only as the name of a file: argv is public. */
export function nbdkitArguments(
  o: NbdkitVddkOptions,
  paths: { readonly passwordPath: string; readonly pidPath: string },
): string[] {
  const { host, port } = splitServer(o.server);
  return [
    ...['--unix', o.socketPath],
    ...['--pidfile', paths.pidPath],
    '--foreground',
    '--exit-with-parent',
    '--readonly',
    o.plugin ?? 'vddk',
    `file=${o.diskFile}`,
    `server=${host}`,
    ...(port === undefined ? [] : [`port=${port}`]),
    `user=${o.username}`,
    `password=+${paths.passwordPath}`,
    `thumbprint=${colons(bareHex(o.thumbprintSha1))}`,
    `vm=moref=${o.vmMoref}`,
    `snapshot=${o.snapshotMoref}`,
    ...(o.transports === undefined ? [] : [`transports=${o.transports}`]),
    ...(o.libdir === undefined ? [] : [`libdir=${o.libdir}`]),
  ];
}

/** `host`, `host:port`, `[v6]`, `[v6]:port`; a bare IPv6 address has no port. */
function splitServer(server: string): { host: string; port: string | undefined } {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(server);
  return { host: match?.[1] ?? match?.[2] ?? server, port: match?.[3] };
}

function bareHex(thumbprint: string): string {
  return thumbprint.replaceAll(':', '').toLowerCase();
}

/** As VDDK prints it: `AA:BB:…` */
function colons(hex: string): string {
  return (hex.match(/../g) ?? []).join(':').toUpperCase();
}
