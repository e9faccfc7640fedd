import { createServer, type Server } from 'node:http';
import swagger from '@fastify/swagger';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { SendenseError } from '@sendense/core';
import { buildInfo } from '@sendense/runtime';
import { fastify, LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import type { HubContext } from '../context.js';
import { auditEventRoutes } from '../routes/audit-events.js';
import { backupEventRoutes } from '../routes/backup-events.js';
import { backupRoutes } from '../routes/backups.js';
import { healthRoutes } from '../routes/health.js';
import { nodeRoutes } from '../routes/nodes.js';
import { repositoryRoutes } from '../routes/repositories.js';
import { restorePointRoutes } from '../routes/restore-points.js';
import { retentionRoutes } from '../routes/retention.js';
import { systemRoutes } from '../routes/system.js';
import { taskRoutes } from '../routes/tasks.js';
import { vcenterRoutes } from '../routes/vcenters.js';
import { vmRoutes } from '../routes/vms.js';
import { addAudit } from './audit-calls.js';
import { addAuthentication } from './auth.js';
import { openApiDocument } from './openapi.js';
import { problemOf, PROBLEM_TYPE, toProblem } from './problem.js';
import { validatorCompiler } from './validation.js';

/** The largest body that any call needs is some hundred bytes. */
const BODY_LIMIT_BYTES = 64 * 1024;
/** A name of 1024 UTF-16 units, percent-encoded. */
const MAX_PARAMETER_LENGTH = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;

export type Api = ReturnType<typeof emptyApi>['app'];

/** The whole API, not yet listening: see openApi in listener.ts. */
export async function buildApi(hub: HubContext): Promise<{ readonly app: Api; readonly server: Server }> {
  const { app, server } = emptyApi(hub.log);
  app.setValidatorCompiler(validatorCompiler);
  takeJsonOnly(app);
  answerErrorsAsProblems(app, hub);
  // These look at every route, so they come before the first one.
  addAuthentication(app, hub);
  addAudit(app, hub);
  observe(app, hub);
  await app.register(swagger, openApiDocument(buildInfo.version));
  await app.register(async (routes) => {
    const api: Api = routes.withTypeProvider<TypeBoxTypeProvider>();
    healthRoutes(api, hub);
    systemRoutes(api, hub);
    repositoryRoutes(api, hub);
    nodeRoutes(api, hub);
    vcenterRoutes(api, hub);
    vmRoutes(api, hub);
    backupRoutes(api, hub);
    backupEventRoutes(api, hub);
    restorePointRoutes(api, hub);
    retentionRoutes(api, hub);
    taskRoutes(api, hub);
    auditEventRoutes(api, hub);
  });
  await app.ready();
  return { app, server };
}

function emptyApi(log: FastifyBaseLogger) {
  let server: Server | undefined;
  const app = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH, ignoreTrailingSlash: true },
    serverFactory: (handler, options) => {
      server = createServer({ requestTimeout: options['requestTimeout'] as number }, handler);
      return server;
    },
    // A path that is not percent-encoded as it must be reaches no route, and so no error handler.
    frameworkErrors: (error, request, reply) => {
      const problem = problemOf(error, request.id);
      reply.hijack().raw.writeHead(problem.status, { 'content-type': PROBLEM_TYPE });
      reply.raw.end(JSON.stringify(problem));
    },
    clientErrorHandler: (error, socket) => {
      if (!socket.writable) return;
      const detail = `this is not an HTTP request that can be understood (${error.code})`;
      const body = JSON.stringify(toProblem(new SendenseError('invalid_argument', detail)));
      socket.end(
        `HTTP/1.1 400 Bad Request\r\nContent-Type: ${PROBLEM_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
      );
    },
  }).withTypeProvider<TypeBoxTypeProvider>();
  if (!server) throw new SendenseError('internal', 'the HTTP framework made no server');
  return { app, server };
}

/** An empty body is no body, also when it is announced as JSON: calls that need none are often made so. */
function takeJsonOnly(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body === '') done(null, undefined);
    else void parse(request, String(body), done);
  });
}

function answerErrorsAsProblems(app: FastifyInstance, hub: Pick<HubContext, 'log'>): void {
  app.setErrorHandler((error, request, reply) => {
    const problem = problemOf(error, request.id);
    if (problem.status >= 500)
      hub.log.error(
        { err: error, requestId: request.id, method: request.method, url: request.url },
        'request failed',
      );
    return reply.status(problem.status).type(PROBLEM_TYPE).send(problem);
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0] ?? '';
    const error = new SendenseError(
      'not_found',
      `there is no ${request.method} ${path.slice(0, 200)}: /openapi.json lists what there is`,
    );
    return reply.status(404).type(PROBLEM_TYPE).send(toProblem(error));
  });
}

/** Headers, the access log and the metrics of every request. */
function observe(app: FastifyInstance, hub: HubContext): void {
  app.addHook('onRequest', async (_request, reply) => {
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
  });
  app.addHook('onResponse', async (request, reply) => {
    const { method, id, url, caller } = request;
    const { statusCode, elapsedTime } = reply;
    hub.metrics.observeRequest(method, request.routeOptions.url ?? 'none', statusCode, elapsedTime / 1000);
    hub.log.debug(
      { requestId: id, method, url, status: statusCode, ms: Math.round(elapsedTime), tokenId: caller?.id },
      'request answered',
    );
  });
}
