/**
 * What kind of failure an error is. Each maps to one gRPC status and one HTTP status (packages/contracts, services/hub),
 * so that a code never has to be mapped by hand.
 */
export type ErrorKind =
  | 'invalid_argument'
  | 'not_found'
  | 'already_exists'
  | 'failed_precondition'
  | 'resource_exhausted'
  | 'unauthenticated'
  | 'permission_denied'
  | 'unavailable'
  | 'deadline_exceeded'
  | 'cancelled'
  | 'aborted'
  | 'data_loss'
  | 'unimplemented'
  | 'internal';

/**
 * Every error code that leaves a process, with its kind. Codes are stable: tests, scripts and the other appliance
 * compare them. Add one rather than reuse one with another meaning.
 */
export const ERROR_KINDS = {
  // Input
  invalid_argument: 'invalid_argument',
  invalid_config: 'invalid_argument',
  unsupported_backup_type: 'invalid_argument',
  not_found: 'not_found',
  already_exists: 'already_exists',
  conflict: 'aborted',
  unauthenticated: 'unauthenticated',
  permission_denied: 'permission_denied',

  // Hub: repositories, ports, targets, catalogue
  repository_not_found: 'not_found',
  repository_not_writable: 'failed_precondition',
  repository_missing: 'failed_precondition',
  repository_full: 'resource_exhausted',
  repository_in_use: 'failed_precondition',
  no_port_available: 'resource_exhausted',
  port_in_use: 'failed_precondition',
  target_create_failed: 'failed_precondition',
  qemu_nbd_missing: 'failed_precondition',
  qemu_nbd_failed: 'internal',
  qemu_nbd_died: 'internal',
  qemu_img_failed: 'internal',
  image_check_failed: 'data_loss',
  catalog_schema_newer: 'failed_precondition',
  catalog_damaged: 'data_loss',
  catalog_unreachable: 'unavailable',
  credentials_missing: 'failed_precondition',
  credentials_unreadable: 'failed_precondition',
  data_directory_in_use: 'failed_precondition',
  catalog_in_use: 'failed_precondition',
  backup_already_running: 'failed_precondition',
  hub_restarted: 'aborted',
  vm_not_protected: 'not_found',
  manifest_invalid: 'data_loss',
  block_hashes_invalid: 'data_loss',

  // Hub: chains of restore points
  chain_damaged: 'data_loss',
  chain_busy: 'failed_precondition',
  verification_failed: 'data_loss',
  cbt_audit_failed: 'data_loss',
  restore_point_held: 'failed_precondition',
  restore_point_suspect: 'failed_precondition',
  task_not_found: 'not_found',
  export_directory_missing: 'failed_precondition',

  // Tunnel and node
  node_not_found: 'not_found',
  node_offline: 'unavailable',
  node_lost: 'unavailable',
  node_revoked: 'permission_denied',
  tunnel_lost: 'unavailable',
  host_key_mismatch: 'permission_denied',
  enrolment_refused: 'permission_denied',
  job_not_found: 'not_found',

  // vSphere
  vcenter_unreachable: 'unavailable',
  vcenter_login_failed: 'unauthenticated',
  vcenter_thumbprint_mismatch: 'failed_precondition',
  vcenter_thumbprint_unconfirmed: 'failed_precondition',
  vcenter_session_expired: 'unauthenticated',
  vcenter_fault: 'internal',
  vcenter_protocol: 'internal',
  vcenter_task_timeout: 'deadline_exceeded',
  vm_not_found: 'not_found',
  vm_has_no_disks: 'failed_precondition',
  disk_set_changed: 'aborted',
  snapshot_create_failed: 'internal',
  snapshot_remove_failed: 'internal',
  changed_areas_invalid: 'data_loss',
  changed_areas_unavailable: 'failed_precondition',

  // VDDK and NBD
  nbdkit_missing: 'failed_precondition',
  nbdkit_failed: 'internal',
  nbdkit_died: 'internal',
  vddk_plugin_missing: 'failed_precondition',
  vddk_library_missing: 'failed_precondition',
  nbd_protocol: 'internal',
  nbd_refused: 'failed_precondition',
  nbd_connection_lost: 'unavailable',
  nbd_read_failed: 'internal',
  nbd_write_failed: 'internal',
  disk_size_mismatch: 'failed_precondition',

  // Anywhere
  process_failed: 'internal',
  timeout: 'deadline_exceeded',
  cancelled: 'cancelled',
  shutting_down: 'unavailable',
  out_of_space: 'resource_exhausted',
  io_error: 'internal',
  internal: 'internal',
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERROR_KINDS;

export interface SendenseErrorOptions {
  /** Ids that belong to the error, shown to users and put into logs: never a secret. */
  readonly context?: Readonly<Record<string, string | number | bigint | boolean>>;
  readonly cause?: unknown;
  /** Whether the same call may succeed later without anybody changing anything. @default false */
  readonly retryable?: boolean;
}

/** The one error class of Sendense. Compare `code`, not the class: an error may have crossed a process. */
export class SendenseError extends Error {
  override readonly name = 'SendenseError';
  readonly context: Readonly<Record<string, string>>;
  readonly retryable: boolean;

  /** @param message what happened, to what, and what to do about it */
  constructor(
    readonly code: ErrorCode,
    message: string,
    options: SendenseErrorOptions = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.context = Object.fromEntries(
      Object.entries(options.context ?? {}).map(([key, value]) => [key, String(value)]),
    );
    this.retryable = options.retryable ?? false;
  }

  get kind(): ErrorKind {
    return ERROR_KINDS[this.code];
  }
}

export function isErrorCode(value: string): value is ErrorCode {
  return Object.hasOwn(ERROR_KINDS, value);
}

/** The code of any thrown thing; `internal` for what is not ours. */
export function errorCode(error: unknown): ErrorCode {
  if (
    typeof error === 'object' &&
    error !== null &&
    'code' in error &&
    typeof error.code === 'string' &&
    'retryable' in error
  ) {
    return isErrorCode(error.code) ? error.code : 'internal';
  }
  return 'internal';
}

/** Makes a SendenseError of any thrown thing; ours pass through unchanged, an abort becomes `cancelled`. */
export function toSendenseError(error: unknown, fallback: ErrorCode = 'internal'): SendenseError {
  if (error instanceof SendenseError) return error;
  if (isError(error)) {
    if (error.name === 'AbortError') {
      return error.cause instanceof SendenseError
        ? error.cause
        : new SendenseError('cancelled', 'cancelled', { cause: error });
    }
    if (error.name === 'TimeoutError')
      return new SendenseError('timeout', error.message, { cause: error, retryable: true });
    const systemCode = systemErrorCode(error);
    if (systemCode === 'ENOSPC' || systemCode === 'EDQUOT')
      return new SendenseError('out_of_space', error.message, { cause: error });
    return new SendenseError(fallback, error.message, { cause: error });
  }
  return new SendenseError(fallback, String(error));
}

/** The code of a failed system call: `ENOENT`, `EACCES`, `EADDRINUSE`, …; undefined for anything else. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!isError(error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  return /^E[A-Z0-9]+$/.test(error.code) ? error.code : undefined;
}

/** `instanceof Error` does not know the errors of another realm: Node's own, seen from a test's sandbox, are such. */
function isError(value: unknown): value is Error {
  return (
    typeof value === 'object' && value !== null && 'name' in value && 'message' in value && 'stack' in value
  );
}

/** Throws the signal's reason as a SendenseError (`cancelled` unless the reason is one of ours). */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return;
  const reason: unknown = signal.reason;
  throw reason instanceof SendenseError
    ? reason
    : new SendenseError('cancelled', 'cancelled', { cause: reason });
}
