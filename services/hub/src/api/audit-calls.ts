import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { toSendenseError } from '@sendense/core';
import type { HubContext } from '../context.js';
import { problemOf } from './problem.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** `repository.add`: every route that changes something has one; what it begins with is the type of the subject. */
    action?: string;
  }
  interface FastifyRequest {
    /** What the call was about, when that is not in its path. */
    subjectId: string | undefined;
    /** The code of the error that the call ended with. */
    failure: string | undefined;
  }
}

/** Calls without a valid token are recorded at most so often, so that nobody can fill the trail from outside. */
const ANONYMOUS_PER_MINUTE = 30;
const MUTATING = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);

/** Puts every call that changes something, or was meant to, into the audit trail before it is answered. */
export function addAudit(app: FastifyInstance, hub: Pick<HubContext, 'audit'>): void {
  const anonymous = new Budget(ANONYMOUS_PER_MINUTE);
  app.decorateRequest('subjectId', undefined);
  app.decorateRequest('failure', undefined);
  app.addHook('onRoute', ({ url, method, config }) => {
    const changes = [method].flat().some((name) => MUTATING.has(name));
    if (changes && config?.action === undefined)
      throw toSendenseError(
        new Error(`route ${url} changes something and has no action for the audit trail`),
      );
  });
  app.addHook('onError', async (request, _reply, error) => {
    request.failure = problemOf(error, request.id).code;
  });
  app.addHook('onSend', async (request, reply) => {
    const { action } = request.routeOptions.config;
    if (action === undefined || (!request.caller && !anonymous.take())) return;
    await hub.audit.record(auditEvent(action, request, reply));
  });
}

function auditEvent(action: string, request: FastifyRequest, reply: FastifyReply) {
  const { caller, failure } = request;
  const parameters = Object.values((request.params ?? {}) as Record<string, string>);
  const subjectId = request.subjectId ?? parameters[0];
  return {
    action,
    actor: caller ? `token:${caller.id}` : 'anonymous',
    outcome: outcomeOf(reply.statusCode),
    subjectType: action.slice(0, action.indexOf('.')),
    ...(subjectId === undefined ? {} : { subjectId }),
    remoteAddress: request.ip,
    detail: {
      status: reply.statusCode,
      ...(caller ? { token_name: caller.name } : {}),
      ...(failure === undefined ? {} : { code: failure }),
    },
  };
}

function outcomeOf(status: number): 'ok' | 'refused' | 'failed' {
  if (status < 400) return 'ok';
  return status === 401 || status === 403 ? 'refused' : 'failed';
}

/** So many in each minute. */
class Budget {
  #minute = 0;
  #taken = 0;

  constructor(private readonly perMinute: number) {}

  take(): boolean {
    const minute = Math.floor(Date.now() / 60_000);
    if (minute !== this.#minute) [this.#minute, this.#taken] = [minute, 0];
    this.#taken += 1;
    return this.#taken <= this.perMinute;
  }
}
