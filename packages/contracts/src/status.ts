import { Metadata, status, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import { SendenseError, toSendenseError, type ErrorKind } from '@sendense/core';
import { fromErrorDetail, toErrorDetail } from './error-detail.js';
import { ErrorDetail } from './gen/sendense/common/v1/error.js';

/** The binary trailer that carries a {@link ErrorDetail}. */
export const ERROR_TRAILER = 'sendense-error-bin';

const STATUS_OF_KIND: Record<ErrorKind, status> = {
  invalid_argument: status.INVALID_ARGUMENT,
  not_found: status.NOT_FOUND,
  already_exists: status.ALREADY_EXISTS,
  failed_precondition: status.FAILED_PRECONDITION,
  resource_exhausted: status.RESOURCE_EXHAUSTED,
  unauthenticated: status.UNAUTHENTICATED,
  permission_denied: status.PERMISSION_DENIED,
  unavailable: status.UNAVAILABLE,
  deadline_exceeded: status.DEADLINE_EXCEEDED,
  cancelled: status.CANCELLED,
  aborted: status.ABORTED,
  data_loss: status.DATA_LOSS,
  unimplemented: status.UNIMPLEMENTED,
  internal: status.INTERNAL,
};

/** What a server answers for any thrown thing: the status of its kind, its message, and the detail as a trailer. */
export function toStatus(
  thrown: unknown,
): Partial<StatusObject> & { code: status; details: string; metadata: Metadata } {
  const error = toSendenseError(thrown);
  const metadata = new Metadata();
  metadata.set(ERROR_TRAILER, Buffer.from(ErrorDetail.encode(toErrorDetail(error)).finish()));
  return { code: STATUS_OF_KIND[error.kind], details: error.message, metadata };
}

/** The error of a failed call, as its server threw it; a transport failure becomes `node_lost`. */
export function fromServiceError(error: ServiceError, what: string): SendenseError {
  const trailer = error.metadata?.get(ERROR_TRAILER)[0];
  if (Buffer.isBuffer(trailer)) return fromErrorDetail(ErrorDetail.decode(trailer));
  switch (error.code) {
    case status.CANCELLED:
      return new SendenseError('cancelled', `${what}: cancelled`, { cause: error });
    case status.DEADLINE_EXCEEDED:
      return new SendenseError('timeout', `${what}: the node did not answer in time`, {
        cause: error,
        retryable: true,
      });
    case status.UNAVAILABLE:
      return new SendenseError(
        'node_lost',
        `${what}: the connection to the node was lost (${error.details})`,
        {
          cause: error,
          retryable: true,
        },
      );
    case status.UNIMPLEMENTED:
      return new SendenseError(
        'internal',
        `${what}: the node does not know this call; is it an older build?`,
        { cause: error },
      );
    default:
      return new SendenseError('internal', `${what}: ${error.details || error.message}`, { cause: error });
  }
}
