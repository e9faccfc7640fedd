import type { ErrorCode } from '@sendense/core';

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
