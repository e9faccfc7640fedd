import { isErrorCode, SendenseError } from '@sendense/core';
import type { ErrorDetail } from './gen/sendense/common/v1/error.js';

export function toErrorDetail(error: SendenseError): ErrorDetail {
  return {
    code: error.code,
    message: error.message,
    context: { ...error.context },
    retryable: error.retryable,
  };
}

/** A code that this build does not know (the other appliance is newer) becomes `internal`, its own text kept. */
export function fromErrorDetail(detail: ErrorDetail): SendenseError {
  const { code, message, context, retryable } = detail;
  if (!isErrorCode(code)) return new SendenseError('internal', `${code}: ${message}`, { context, retryable });
  return new SendenseError(code, message, { context, retryable });
}
