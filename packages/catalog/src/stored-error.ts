import { isErrorCode, type ErrorCode, type SendenseError } from '@sendense/core';
import { fromJson } from './columns.js';

/** An error as it is kept and shown: never with a secret, never with a stack. */
export interface StoredError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly context: Readonly<Record<string, string>>;
}

export interface StoredWarning {
  /** Stable, snake_case; the node's warnings have codes of their own. */
  readonly code: string;
  readonly message: string;
  readonly context: Readonly<Record<string, string>>;
}

export function toStoredError({ code, message, context }: SendenseError): StoredError {
  return { code, message, context: { ...context } };
}

export function errorToJson({ code, message, context }: StoredError): string {
  return JSON.stringify({ code, message, context });
}

/** A code of another version becomes `internal`, its own name kept in the message. */
export function errorFromJson(text: string): StoredError {
  const { code, message, context } = fromJson(text, 'an error') as StoredWarning;
  return isErrorCode(code)
    ? { code, message, context }
    : { code: 'internal', message: `${code}: ${message}`, context };
}
