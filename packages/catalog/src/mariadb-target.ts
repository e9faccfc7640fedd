import { readFileSync } from 'node:fs';
import { SendenseError } from '@sendense/core';

/** Where a MariaDB catalogue is, and how to get in. */
export interface MariaDbTarget {
  readonly host: string;
  readonly port: number;
  /** A unix socket on this machine; then host and port are not used. */
  readonly socket: string | undefined;
  readonly user: string;
  /** A function, so that printing the target cannot show it. */
  readonly password: () => string;
  readonly database: string;
  /** `ca` is PEM text; the system's authorities when it is missing. */
  readonly tls: { readonly ca: string | undefined; readonly verify: boolean } | undefined;
  /** For messages: without user and password. */
  readonly label: string;
}

const PARAMETERS = ['socket', 'ssl', 'ssl-ca', 'ssl-verify'];

/**
 * Reads `mysql://user:password@host:port/database?…`. Parameters: `socket=/path` (the host is then not used),
 * `ssl=on` (the system's authorities), `ssl-ca=/path/ca.pem` (this authority; implies `ssl=on`), `ssl-verify=off`
 * (encrypted, but not sure to whom). User, password and database may be percent-encoded.
 *
 * @param passwordFile whose first line is the password, when it is not in the URL
 * @throws `invalid_config`; neither the URL nor a password is in the message
 */
export function mariaDbTarget(text: string, passwordFile?: string): MariaDbTarget {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !['mysql:', 'mariadb:'].includes(url.protocol))
    throw invalid('expected mysql://user:password@host:port/database');
  for (const name of url.searchParams.keys())
    if (!PARAMETERS.includes(name))
      throw invalid(`the parameter '${name}' is unknown; there are ${PARAMETERS.join(', ')}`);
  const database = decoded(url.pathname.slice(1), 'database');
  const user = decoded(url.username, 'user');
  if (database === '' || database.includes('/')) throw invalid('it names no database: …@host:port/database');
  if (user === '') throw invalid('it names no user: mysql://user@host/database');
  if (url.password !== '' && passwordFile !== undefined)
    throw invalid('it holds a password, and SENDENSE_DATABASE_PASSWORD_FILE is set too: give one of them');
  const password =
    passwordFile === undefined ? decoded(url.password, 'password') : readPassword(passwordFile);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1') || 'localhost';
  const port = url.port === '' ? 3306 : Number(url.port);
  const socket = url.searchParams.get('socket') ?? undefined;
  if (socket !== undefined && !socket.startsWith('/')) throw invalid('socket= must be an absolute path');
  return {
    ...{ host, port, socket, user, database },
    password: () => password,
    tls: readTls(url.searchParams),
    label: `mysql://${url.hostname || host}:${port}/${database}${socket === undefined ? '' : `?socket=${socket}`}`,
  };
}

function readTls(parameters: URLSearchParams): MariaDbTarget['tls'] {
  const caFile = parameters.get('ssl-ca');
  const verify = onOff(parameters, 'ssl-verify', true);
  if (!onOff(parameters, 'ssl', caFile !== null || parameters.has('ssl-verify'))) {
    if (caFile !== null || parameters.has('ssl-verify'))
      throw invalid('ssl=off contradicts ssl-ca and ssl-verify');
    return undefined;
  }
  return { verify, ca: caFile === null ? undefined : read(caFile, 'ssl-ca') };
}

function onOff(parameters: URLSearchParams, name: string, fallback: boolean): boolean {
  const value = parameters.get(name);
  if (value === null) return fallback;
  if (value === 'on' || value === 'off') return value === 'on';
  throw invalid(`${name}= must be on or off`);
}

function readPassword(path: string): string {
  return read(path, 'SENDENSE_DATABASE_PASSWORD_FILE').split(/\r?\n/, 1)[0] ?? '';
}

function read(path: string, what: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new SendenseError('invalid_config', `${what}: ${path} cannot be read: ${(error as Error).message}`);
  }
}

function decoded(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(`its ${what} holds a '%' that is not followed by two hexadecimal digits: write it as %25`);
  }
}

function invalid(what: string): SendenseError {
  return new SendenseError('invalid_config', `SENDENSE_DATABASE_URL: ${what}`);
}
