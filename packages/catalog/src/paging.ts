import { SendenseError } from '@sendense/core';

/** One page of a listing. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Pass it back to get the page that follows; undefined on the last one. */
  readonly nextCursor: string | undefined;
}

export interface PageRequest {
  /** 1–1000. @default 100 */
  readonly limit?: number;
  /** From {@link Page.nextCursor}. Opaque. */
  readonly cursor?: string;
}

/** The row that a page ended with: the next one starts after it, whatever was added or removed meanwhile. */
export interface Position {
  readonly at: Date;
  readonly id: string;
}

const MAX_LIMIT = 1000;

/** @throws `invalid_argument` */
export function pageLimit({ limit = 100 }: PageRequest): number {
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT)
    throw new SendenseError('invalid_argument', `limit must be a whole number from 1 to ${MAX_LIMIT}`);
  return limit;
}

/** @throws `invalid_argument` when the cursor is none of ours */
export function pagePosition({ cursor }: PageRequest): Position | undefined {
  if (cursor === undefined) return undefined;
  const text = Buffer.from(cursor, 'base64url').toString('utf8');
  const separator = text.indexOf(' ');
  const at = new Date(Number(text.slice(0, separator)));
  const id = text.slice(separator + 1);
  if (separator < 1 || id === '' || Number.isNaN(at.getTime()) || encodePosition({ at, id }) !== cursor)
    throw new SendenseError('invalid_argument', 'the cursor is not one that this API gave out');
  return { at, id };
}

/**
 * The condition for rows that come after this one, as a filter of Prisma. What is said twice makes the first column a range
 * of its index: a database that sees the alternatives alone reads all rows and sorts them.
 *
 * @param at the column with the time, `id` the one that decides between equal times
 */
export function beyond(position: Position | undefined, direction: 'older' | 'newer', at: string, id: string) {
  if (!position) return {};
  const [upTo, past] = direction === 'older' ? (['lte', 'lt'] as const) : (['gte', 'gt'] as const);
  return {
    [at]: { [upTo]: position.at },
    OR: [{ [at]: { [past]: position.at } }, { [at]: position.at, [id]: { [past]: position.id } }],
  };
}

/** A value, or the range from it to itself. */
type Only = string | { readonly gte: string; readonly lte: string };

/**
 * What rows must have, as a filter of Prisma and as the beginning of the order of a list.
 *
 * MariaDB, asked for a page far inside a list with a filter that matches much, takes the index by the filter alone and walks
 * from its end to the cursor, which takes seconds: it holds reading the range behind the cursor for dearer, not knowing that
 * a page ends soon. Written as a range the filter cannot be used in that way, and with its columns in front of the order
 * the range is read in order.
 *
 * SQLite does not know how many rows have a value, and may take the index of a repository for a page of one VM in it: with
 * everything else written as ranges it takes the index of what is equal.
 *
 * @param values by column; in the order of the columns of an index, where there is one for several of them
 * @param o.asRanges see `OpenedDatabase.pagesByRange`; without a cursor either way is good
 * @param o.narrow columns of which any value is that of few rows
 */
export function having<Column extends string>(
  values: Readonly<Record<Column, string | undefined>>,
  o: {
    readonly order: 'asc' | 'desc';
    readonly asRanges: boolean;
    readonly narrow?: readonly NoInfer<Column>[];
  },
): {
  readonly where: Partial<Record<Column, Only>>;
  readonly orderBy: Partial<Record<Column, 'asc' | 'desc'>>[];
} {
  const { order, asRanges, narrow = [] } = o;
  const columns = (Object.keys(values) as Column[]).filter((column) => values[column] !== undefined);
  const isNarrow = columns.some((column) => narrow.includes(column));
  const where: Partial<Record<Column, Only>> = {};
  for (const column of columns) {
    const value = values[column] ?? '';
    const asRange = asRanges || (isNarrow && !narrow.includes(column));
    where[column] = asRange ? { gte: value, lte: value } : value;
  }
  const orderBy = columns.map((column) => {
    const by: Partial<Record<Column, 'asc' | 'desc'>> = {};
    by[column] = order;
    return by;
  });
  return { where, orderBy: asRanges ? orderBy : [] };
}

/** Cuts a page from rows of which one more than `limit` was asked for. */
export function toPage<Row, T>(
  rows: readonly Row[],
  limit: number,
  position: (row: Row) => Position,
  record: (row: Row) => T,
): Page<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(record),
    nextCursor: rows.length > limit && last !== undefined ? encodePosition(position(last)) : undefined,
  };
}

function encodePosition({ at, id }: Position): string {
  return Buffer.from(`${at.getTime()} ${id}`).toString('base64url');
}
