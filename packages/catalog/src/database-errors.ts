import { SendenseError, type ErrorCode } from '@sendense/core';

/** What a driver adapter says of an error of the database itself, wherever Prisma has wrapped it. */
interface DriverFault {
  readonly kind: string;
  readonly originalCode: string;
  readonly message: string;
  /** Columns of a violated constraint, as far as the database says. */
  readonly fields: readonly string[];
  /** … or its index. */
  readonly index: string | undefined;
}

/** https://www.sqlite.org/rescode.html */
const CODES: readonly [prefix: string, code: ErrorCode, fix: string][] = [
  ['SQLITE_FULL', 'out_of_space', 'free space on its file system'],
  ['SQLITE_NOTADB', 'catalog_damaged', 'it is not a catalogue; put back a copy of it'],
  ['SQLITE_CORRUPT', 'catalog_damaged', 'put back a copy of it, or rescan the repositories into a new one'],
  ['SQLITE_READONLY', 'permission_denied', 'make it and its folder writable for the user that runs Sendense'],
  ['SQLITE_CANTOPEN', 'permission_denied', 'make it and its folder writable for the user that runs Sendense'],
  ['SQLITE_PERM', 'permission_denied', 'make it and its folder writable for the user that runs Sendense'],
  ['SQLITE_IOERR', 'io_error', 'look at the system log for errors of its disk'],
];

/** https://mariadb.com/kb/en/mariadb-error-code-reference/ */
const MARIADB_CODES: readonly [code: string, code: ErrorCode, fix: string][] = [
  ['1044', 'permission_denied', 'grant its user ALL PRIVILEGES on the database'],
  [
    '1045',
    'permission_denied',
    'check user and password in SENDENSE_DATABASE_URL or SENDENSE_DATABASE_PASSWORD_FILE',
  ],
  [
    '1698',
    'permission_denied',
    'check user and password in SENDENSE_DATABASE_URL or SENDENSE_DATABASE_PASSWORD_FILE',
  ],
  ['1142', 'permission_denied', 'grant its user ALL PRIVILEGES on the database'],
  ['1290', 'permission_denied', 'the server is read-only: make it writable, or name the primary'],
  ['1836', 'permission_denied', 'the server is read-only: make it writable, or name the primary'],
  ['1049', 'invalid_config', 'make it: CREATE DATABASE … CHARACTER SET utf8mb4'],
  ['1021', 'out_of_space', "free space on the server's file system"],
  ['1114', 'out_of_space', "free space on the server's file system"],
  ['1146', 'catalog_damaged', 'put back a copy of the database, or rescan the repositories into a new one'],
  ['1054', 'catalog_damaged', 'put back a copy of the database, or rescan the repositories into a new one'],
  ['1406', 'invalid_argument', 'shorten it'],
];

/** The connection broke while something was asked: errors of the server, of the driver (45…), of the system. */
const LOST = new Set(
  '1053 1152 1158 1159 1160 1161 1184 1927 2006 2013 45001 45004 45009 45013 45019 45026 ECONNRESET EPIPE'.split(
    ' ',
  ),
);
/** There was no connection to ask on. */
const UNREACHABLE = new Set(
  (
    '1040 1203 1226 1129 1130 45008 45012 45023 45024 45025 45028 45029 45030 45039 45044 45047 ' +
    '45056 45057 45059 45060 45061 45062 ' +
    'CERTIFICATE ECONNREFUSED ENOENT EACCES ENOTFOUND EAI_AGAIN ETIMEDOUT EHOSTUNREACH ENETUNREACH'
  ).split(' '),
);
/** Deadlock; the row changed since this transaction began (`innodb_snapshot_isolation`). The server has taken everything back. */
const ROLLED_BACK = new Set(['1213', '1020']);
const LOCK_WAIT_TIMEOUT = '1205';

/** Makes an error of the database one of ours that names the file and the fix; other errors pass through. */
export function databaseError(error: unknown, path: string): unknown {
  if (error instanceof SendenseError) return error;
  if (isBusy(error)) {
    return new SendenseError('timeout', `the catalogue ${path} is locked by another process`, {
      cause: error,
      retryable: true,
      context: { path },
    });
  }
  const fault = driverFault(error);
  if (fault && (LOST.has(fault.originalCode) || UNREACHABLE.has(fault.originalCode)))
    return unreachable(error, fault, path);
  const known =
    fault &&
    (CODES.find(([prefix]) => fault.originalCode.startsWith(prefix)) ??
      MARIADB_CODES.find(([code]) => fault.originalCode === code));
  // The server did not let us in, for a reason that is in its message (no TLS where it wants TLS, …).
  if (!known && fault?.kind === 'mysql' && property(error, 'fatal') === true)
    return unreachable(error, fault, path);
  if (!known) return error;
  const [, code, fix] = known;
  return new SendenseError(code, `the catalogue ${path}: ${fault.message}; ${fix}`, {
    cause: error,
    context: { path },
  });
}

/** Another process holds the lock, or has written since this transaction read. */
export function isBusy(error: unknown): boolean {
  const fault = driverFault(error);
  return fault?.kind === 'SocketTimeout' || fault?.originalCode === LOCK_WAIT_TIMEOUT || isRolledBack(error);
}

/** The database has taken back what was asked, in favour of somebody else: nothing of it was done. */
export function isRolledBack(error: unknown): boolean {
  return ROLLED_BACK.has(driverFault(error)?.originalCode ?? '');
}

/** The connection broke while something was asked: nobody knows whether that was done, except in an open transaction. */
export function isConnectionLost(error: unknown): boolean {
  return LOST.has(driverFault(error)?.originalCode ?? '');
}

/** For a transaction whose connection broke at the commit. */
export function commitUnknown(error: unknown, path: string): SendenseError {
  return new SendenseError(
    'catalog_unreachable',
    `the connection to the catalogue ${path} broke while a change was committed: look whether it took place before you ask for it again`,
    { cause: error, context: { path } },
  );
}

function unreachable(cause: unknown, { message }: DriverFault, path: string): SendenseError {
  return new SendenseError(
    'catalog_unreachable',
    `the catalogue ${path} cannot be reached: ${message}; see that the server runs and SENDENSE_DATABASE_URL names it`,
    { cause, retryable: true, context: { path } },
  );
}

/** Whether a unique index over (among others) this column refused the row. */
export function isUniqueViolation(error: unknown, column: string): boolean {
  const fault = driverFault(error);
  if (fault?.kind !== 'UniqueConstraintViolation') return false;
  if (fault.index === undefined) return fault.fields.includes(column);
  // MariaDB names the index: <table>_<columns>_key as Prisma calls it, or PRIMARY, of whatever table it is.
  if (fault.index === 'PRIMARY')
    return PRIMARY_KEYS.get(text(property(property(error, 'meta'), 'modelName')) ?? '') === column;
  return fault.index.endsWith('_key') && fault.index.includes(`_${column}_`);
}

/** The primary keys that are asked about: those that people choose. */
const PRIMARY_KEYS = new Map([['Node', 'name']]);

export function isForeignKeyViolation(error: unknown): boolean {
  return driverFault(error)?.kind === 'ForeignKeyConstraintViolation';
}

/** What the database itself said, in its words. */
export function databaseMessage(error: unknown): string {
  return driverFault(error)?.message ?? (error instanceof Error ? error.message : String(error));
}

/** The adapter's own description: Prisma hangs it into `meta.driverAdapterError.cause`, a bare adapter into `cause`. */
function driverFault(error: unknown): DriverFault | undefined {
  for (const candidate of [error, property(property(error, 'meta'), 'driverAdapterError')]) {
    const cause = property(candidate, 'cause');
    const kind = property(cause, 'kind');
    if (typeof kind !== 'string') continue;
    const fields = property(property(cause, 'constraint'), 'fields');
    return {
      kind,
      originalCode: text(property(cause, 'originalCode')) ?? '',
      message: text(property(cause, 'originalMessage')) ?? text(property(cause, 'message')) ?? kind,
      fields: Array.isArray(fields) ? fields.map(String) : [],
      index: text(property(property(cause, 'constraint'), 'index')),
    };
  }
  // Opening the file happens before the adapter wraps anything.
  const code = property(error, 'code');
  if (error instanceof Error && typeof code === 'string' && code.startsWith('SQLITE_')) {
    return { kind: 'sqlite', originalCode: code, message: error.message, fields: [], index: undefined };
  }
  return mariaDbFault(error);
}

/** The driver's own error, from where no adapter wraps it: connecting, beginning a transaction, migrating. */
function mariaDbFault(error: unknown): DriverFault | undefined {
  const errno = property(error, 'errno');
  const sqlMessage = text(property(error, 'sqlMessage'));
  const code = text(property(error, 'code'));
  if (typeof errno !== 'number' || code === undefined || property(error, 'sqlState') === undefined)
    return undefined;
  // A failed system call has its name for a code, and a number below 0.
  const originalCode = errno > 0 ? String(errno) : code;
  const message = sqlMessage ?? text(property(error, 'message')) ?? code;
  return { kind: 'mysql', originalCode, message, fields: [], index: undefined };
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function property(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && name in value
    ? (value as Record<string, unknown>)[name]
    : undefined;
}
