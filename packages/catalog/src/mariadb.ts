import { isIP } from 'node:net';
import { checkServerIdentity, type PeerCertificate } from 'node:tls';
import { SendenseError } from '@sendense/core';
import { createConnection, type Connection, type ConnectionConfig } from 'mariadb';
import { databaseError } from './database-errors.js';
import { Database, type DatabaseOptions } from './database.js';
import { PrismaClient } from './gen/mariadb/client.js';
import type { PrismaClient as CommonClient } from './gen/sqlite/client.js';
import { QuickMariaDb } from './mariadb-adapter.js';
import { migrateMariaDb } from './mariadb-migrate.js';
import type { MariaDbTarget } from './mariadb-target.js';
import { insistOnCertificates } from './strict-tls.js';

insistOnCertificates();

/** How long a server may be away (a restart) before what needs it fails, milliseconds. */
const ACQUIRE_TIMEOUT_MS = 15_000;
/** How long a statement waits for another connection's locks, seconds. */
const LOCK_WAIT_S = 10;

/**
 * Opens the database, which must exist, and brings its schema up to date.
 * @throws `catalog_unreachable`, `permission_denied`, `invalid_config`, `catalog_schema_newer`, `catalog_damaged`, `timeout`
 */
export async function openMariaDb(
  target: MariaDbTarget,
  options: DatabaseOptions & { readonly mayUse?: (() => Promise<void>) | undefined },
): Promise<Database> {
  const { log, now, mayUse } = options;
  const name = target.label;
  try {
    const schemaVersion = await prepare(target, options, mayUse !== undefined);
    const adapter = new QuickMariaDb({ ...connectionConfig(target), acquireTimeout: ACQUIRE_TIMEOUT_MS });
    const client = new PrismaClient({ adapter }) as unknown as CommonClient;
    log.info({ database: name }, 'catalogue on MariaDB');
    return new Database({ client, name, schemaVersion, now, mayUse, pagesByRange: true });
  } catch (error) {
    throw databaseError(error, name);
  }
}

/** A connection that speaks as the catalogue's do, for what is not a query of Prisma. */
export async function connectMariaDb(
  target: MariaDbTarget,
  more: Pick<ConnectionConfig, 'multipleStatements' | 'sessionVariables'> = {},
): Promise<Connection> {
  const own = connectionConfig(target);
  const sessionVariables = { ...own.sessionVariables, ...more.sessionVariables };
  const connection = await createConnection({ ...own, ...more, sessionVariables });
  // Without a listener a connection that breaks while nothing is asked ends the process.
  connection.on('error', () => {});
  return connection;
}

/**
 * Lets the server look at what the tables hold now. It does so itself after many changes, but not always before somebody
 * asks; with figures of an empty table it reads a million rows for a page of a hundred. Takes some milliseconds for a table.
 */
export async function refreshStatistics(connection: Connection): Promise<void> {
  const tables = await connection.query<{ name: string }[]>(
    "SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE'",
  );
  await connection.query(`ANALYZE TABLE ${tables.map(({ name }) => `\`${name}\``).join(', ')}`);
}

async function prepare(target: MariaDbTarget, options: DatabaseOptions, asHub: boolean): Promise<string> {
  // A migration is a script of several statements; no text of others is ever part of it.
  const connection = await connectMariaDb(target, { multipleStatements: true });
  try {
    await requireVersion(connection, target);
    const version = await migrateMariaDb(connection, options.migrations, { ...target, log: options.log });
    if (asHub) await refreshStatistics(connection);
    return version;
  } finally {
    await connection.end().catch(() => connection.destroy());
  }
}

async function requireVersion(connection: Connection, { label }: MariaDbTarget): Promise<void> {
  const version = connection.serverVersion();
  const [, major, minor] = (/^(?:5\.5\.5-)?(\d+)\.(\d+)\..*mariadb/i.exec(version) ?? []).map(Number);
  if (major !== undefined && minor !== undefined && (major > 10 || (major === 10 && minor >= 11))) return;
  throw new SendenseError(
    'invalid_config',
    `the catalogue ${label} needs MariaDB 10.11 or later, and the server is ${version}`,
    { context: { path: label } },
  );
}

function connectionConfig(target: MariaDbTarget): ConnectionConfig {
  const { host, port, socket, user, database, tls } = target;
  return {
    ...(socket === undefined ? { host, port } : { socketPath: socket }),
    ...{ user, database, password: target.password() },
    ...(tls && { ssl: tlsOptions(tls, host) }),
    // To whom it may be redirected was not configured. (The driver's types do not know the setting.)
    ...{ permitRedirect: false },
    connectTimeout: ACQUIRE_TIMEOUT_MS,
    collation: 'UTF8MB4_BIN',
    // Whatever the server's administrator prefers: times are UTC, and what does not fit is an error, never cut.
    sessionVariables: {
      time_zone: '+00:00',
      sql_mode: 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_ZERO_DATE',
      innodb_lock_wait_timeout: LOCK_WAIT_S,
      foreign_key_checks: 1,
      // It would rather put together and sort what several indexes find than read one index in the order of the page.
      optimizer_switch: 'index_merge_intersection=off',
    },
    // Parameters of statements hold hashes of tokens and sealed passwords.
    logParam: false,
  };
}

/** See also strict-tls.ts: the driver alone would not insist on the certificate. */
function tlsOptions({ verify, ca }: NonNullable<MariaDbTarget['tls']>, host: string) {
  if (!verify) return { rejectUnauthorized: false };
  return {
    rejectUnauthorized: true,
    ...(ca === undefined ? {} : { ca }),
    // The name that was configured, whatever the driver knows of its socket. An address is no name to ask for (RFC 6066).
    checkServerIdentity: (_: string, certificate: PeerCertificate) => checkServerIdentity(host, certificate),
    ...(isIP(host) === 0 ? { servername: host } : {}),
  };
}
