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
 * @param end of older rows, those from here on: see {@link inWindows}
 */
export function beyond(
  position: Position | undefined,
  direction: 'older' | 'newer',
  at: string,
  id: string,
  end?: number,
) {
  if (!position) return {};
  const [upTo, past] = direction === 'older' ? (['lte', 'lt'] as const) : (['gte', 'gt'] as const);
  return {
    [at]: { [upTo]: position.at, ...(end === undefined ? {} : { gte: new Date(end) }) },
    OR: [{ [at]: { [past]: position.at } }, { [at]: position.at, [id]: { [past]: position.id } }],
  };
}

const DAY_MS = 86_400_000;
const WINDOWS = [1, 8, 64, 512];

/**
 * Asks for the rows of a page in windows that become wider, until it is full. MariaDB takes an index by its first column
 * alone, and walks from its end to the cursor, unless the range behind it is small.
 *
 * @param from where the page begins; undefined asks once, without a window
 * @param window of the first try
 * @param ask for rows not beyond `end`; undefined is without an end
 */
export async function inWindows<Row>(
  from: number | undefined,
  { limit, window = DAY_MS }: { readonly limit: number; readonly window?: number },
  ask: (end: number | undefined) => Promise<readonly Row[]>,
): Promise<readonly Row[]> {
  if (from === undefined) return ask(undefined);
  for (const width of WINDOWS) {
    const rows = await ask(from - width * window);
    if (rows.length > limit) return rows;
  }
  return ask(undefined);
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
