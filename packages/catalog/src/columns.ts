import { SendenseError } from '@sendense/core';

// Between what a column holds and what a record shows.

/** A byte count or another number that the database keeps as 64 bits. */
export function toNumber(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw damaged(`the number ${value} is out of range`);
  return number;
}

/** @throws `invalid_argument` for what is no safe non-negative integer */
export function toBigInt(value: number, what: string): bigint {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new SendenseError('invalid_argument', `${what} must be a whole number of 0 or more, got ${value}`);
  return BigInt(value);
}

/** A word of a union. */
export function oneOf<T extends string>(values: readonly T[], value: string, what: string): T {
  const found = values.find((candidate) => candidate === value);
  if (found === undefined) throw damaged(`the ${what} '${value}' is unknown`);
  return found;
}

/** A value that rows in this state always have. */
export function present<T>(value: T | null, what: string): T {
  if (value === null) throw damaged(`${what} is missing`);
  return value;
}

/** @returns what our own code has written there: the caller knows its shape */
export function fromJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw damaged(`${what} is not readable`, error);
  }
}

function damaged(what: string, cause?: unknown): SendenseError {
  return new SendenseError(
    'catalog_damaged',
    `the catalogue holds a row that Sendense did not write: ${what}; put back a copy of it`,
    { cause },
  );
}

/** Disks are put into order here and not by the query: Prisma can divide a long list of ids only where nothing is sorted. */
export function byDiskNumber<T extends { readonly diskNumber: number }>(disks: readonly T[]): T[] {
  return disks.toSorted((a, b) => a.diskNumber - b.diskNumber);
}
