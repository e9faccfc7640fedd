import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { SendenseError, toSendenseError } from '@sendense/core';
import type { Lab } from '../types.js';
import { isCommand, runLabCommand } from './commands.js';
import { controlSocketPath } from './socket.js';

/** Lets other processes command a running lab: `POST /<command>` with JSON over a unix socket in the lab's directory. */
export class ControlServer implements AsyncDisposable {
  private constructor(private readonly server: Server) {}

  /** @throws `invalid_config` when the directory's path is too long */
  static async start(lab: Lab): Promise<ControlServer> {
    const path = controlSocketPath(lab.directory);
    // Of a lab that was killed; the lock of the directory is ours.
    await rm(path, { force: true });
    const server = createServer((request, response) => void respond(lab, request, response));
    server.listen(path);
    await once(server, 'listening');
    return new ControlServer(server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.server, 'close');
    this.server.close();
    this.server.closeAllConnections();
    await closed;
  }
}

async function respond(lab: Lab, request: IncomingMessage, response: ServerResponse): Promise<void> {
  let status = 200;
  let answer: unknown;
  try {
    answer = { result: await run(lab, request) };
  } catch (error) {
    const { code, message } = toSendenseError(error);
    status = 400;
    answer = { error: { code, message } };
  }
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
}

async function run(lab: Lab, request: IncomingMessage): Promise<unknown> {
  const name = (request.url ?? '').slice(1);
  if (!isCommand(name)) throw new SendenseError('invalid_argument', `the lab knows no command ${name}`);
  let text = '';
  for await (const chunk of request.setEncoding('utf8') as AsyncIterable<string>) text += chunk;
  const input: unknown = JSON.parse(text);
  if (typeof input !== 'object' || input === null)
    throw new SendenseError('invalid_argument', 'expected a JSON object');
  // The only client is this package's own, over a socket that only our user can open.
  return runLabCommand(lab, name, input as never);
}
