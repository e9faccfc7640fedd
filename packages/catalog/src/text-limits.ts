import { SendenseError } from '@sendense/core';

// How long texts may be, in characters (code points), so that every database can hold and index them: InnoDB indexes
// 3072 bytes, which are 768 characters of utf8mb4.

/** Names of repositories, VMs, vCenters, tokens. */
export const MAX_NAME_LENGTH = 512;
/** Why somebody did something, in their words. */
export const MAX_REASON_LENGTH = 1000;
/** Paths that must be unique. */
export const MAX_PATH_LENGTH = 768;

/**
 * Lets a text through unchanged when it can be stored as it is.
 * @throws `invalid_argument` when it is empty, too long, or not Unicode (a lone surrogate, which no database can hold)
 */
export function requireText(what: string, value: string, maxLength = MAX_NAME_LENGTH): string {
  if (value.trim() === '') throw new SendenseError('invalid_argument', `${what} is empty`);
  if (codePoints(value).length > maxLength) {
    throw new SendenseError('invalid_argument', `${what} is longer than ${maxLength} characters`);
  }
  if (!value.isWellFormed() || value.includes('\0')) {
    throw new SendenseError(
      'invalid_argument',
      `${what} holds a character that cannot be stored (half of a surrogate pair, or NUL)`,
    );
  }
  return value;
}

/** The nearest storable form of a text that others chose and that nobody can be asked to correct. */
export function storableText(value: string, maxLength = MAX_NAME_LENGTH): string {
  const text = value.toWellFormed().replaceAll('\0', '\uFFFD');
  return text.length <= maxLength ? text : codePoints(text).slice(0, maxLength).join('');
}

/** What databases count: neither UTF-16 units nor what a reader sees as one character. */
function codePoints(text: string): string[] {
  return Array.from(text);
}
