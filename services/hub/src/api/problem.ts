import type { FastifyError } from 'fastify';
import { isErrorCode, SendenseError, toSendenseError, type ErrorCode, type ErrorKind } from '@sendense/core';
import { Type, type Static } from 'typebox';

/** Every error of the API, as RFC 9457 problem details. */
export const Problem = Type.Object(
  {
    type: Type.String({ description: '`urn:sendense:problem:` and the code' }),
    title: Type.String({ description: 'the code in words' }),
    status: Type.Integer(),
    detail: Type.String({ description: 'what happened, to what, and what to do about it' }),
    code: Type.String({ description: 'stable; for programs' }),
    context: Type.Record(Type.String(), Type.String(), { description: 'the ids that belong to it' }),
    retryable: Type.Boolean({
      description: 'whether the same request may succeed later without anybody changing anything',
    }),
  },
  { title: 'Problem' },
);
export type Problem = Static<typeof Problem>;

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

const STATUS_OF_KIND: Record<ErrorKind, number> = {
  invalid_argument: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  already_exists: 409,
  failed_precondition: 409,
  aborted: 409,
  cancelled: 409,
  resource_exhausted: 503,
  unavailable: 503,
  deadline_exceeded: 504,
  unimplemented: 501,
  data_loss: 500,
  internal: 500,
};

/**
 * Where the kind would tell the client something wrong. 401 and 403 speak of the client's own token, so a login that
 * fails at a vCenter is neither; and what a vCenter or a node got wrong is not an error of this server.
 */
const STATUS_OF_CODE: Partial<Record<ErrorCode, number>> = {
  vcenter_login_failed: 422,
  vcenter_session_expired: 502,
  vcenter_fault: 502,
  vcenter_protocol: 502,
  snapshot_create_failed: 502,
  snapshot_remove_failed: 502,
  node_revoked: 409,
  host_key_mismatch: 409,
  enrolment_refused: 409,
  out_of_space: 507,
  repository_full: 507,
};

export function httpStatus(error: SendenseError): number {
  return STATUS_OF_CODE[error.code] ?? STATUS_OF_KIND[error.kind];
}

export function toProblem(error: SendenseError, status = httpStatus(error)): Problem {
  return {
    type: `urn:sendense:problem:${error.code}`,
    title: error.code.replaceAll('_', ' '),
    status,
    detail: error.message,
    code: error.code,
    context: { ...error.context },
    retryable: error.retryable,
  };
}

/**
 * Any thrown thing as a problem. What is not ours and not the HTTP framework's is a defect: its text may hold anything,
 * so the client only gets the id under which the log has it.
 */
export function problemOf(thrown: unknown, requestId: string): Problem {
  if (thrown instanceof SendenseError) return toProblem(thrown);
  const status = frameworkStatus(thrown);
  if (status !== undefined) {
    const said = toSendenseError(thrown).message;
    return toProblem(new SendenseError('invalid_argument', FRAMEWORK_TEXT[status] ?? said), status);
  }
  const known = toSendenseError(thrown);
  if (known.code !== 'internal') return toProblem(known);
  return toProblem(
    new SendenseError('internal', `an error inside the hub; its log has it under request ${requestId}`, {
      context: { request_id: requestId },
    }),
  );
}

/** What the HTTP framework says in its own words, said so that a client knows what to change. */
const FRAMEWORK_TEXT: Readonly<Record<number, string>> = {
  413: 'the request body is too large: at most 64 KiB',
  415: "the request body must be JSON: send 'content-type: application/json'",
};

function frameworkStatus(thrown: unknown): number | undefined {
  if (typeof thrown !== 'object' || thrown === null) return undefined;
  const { statusCode, code } = thrown as Partial<FastifyError>;
  if (typeof code !== 'string' || isErrorCode(code)) return undefined;
  return statusCode !== undefined && statusCode >= 400 && statusCode < 500 ? statusCode : undefined;
}
