import { SendenseError, type ErrorCode } from '@sendense/core';

/** What a driver adapter says of an error of the database itself, wherever Prisma has wrapped it. */
interface DriverFault {
  readonly kind: string;
  readonly originalCode: string;
  readonly message: string;
  readonly fields: readonly string[];
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
  const known = fault && CODES.find(([prefix]) => fault.originalCode.startsWith(prefix));
  if (!known) return error;
  const [, code, fix] = known;
  return new SendenseError(code, `the catalogue ${path}: ${fault.message}; ${fix}`, {
    cause: error,
    context: { path },
  });
}

/** Another process holds the lock, or has written since this transaction read. */
export function isBusy(error: unknown): boolean {
  return driverFault(error)?.kind === 'SocketTimeout';
}

/** Whether a unique index over (among others) this column refused the row. */
export function isUniqueViolation(error: unknown, column: string): boolean {
  const fault = driverFault(error);
  return fault?.kind === 'UniqueConstraintViolation' && fault.fields.includes(column);
}

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
    };
  }
  // Opening the file happens before the adapter wraps anything.
  const code = property(error, 'code');
  if (error instanceof Error && typeof code === 'string' && code.startsWith('SQLITE_')) {
    return { kind: 'sqlite', originalCode: code, message: error.message, fields: [] };
  }
  return undefined;
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function property(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && name in value
    ? (value as Record<string, unknown>)[name]
    : undefined;
}
