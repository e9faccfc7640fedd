import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { isErrorCode, SendenseError } from '@sendense/core';
import type { CommandName, Commands } from './commands.js';
import { controlSocketPath } from './socket.js';

/**
 * Has the lab that runs in the directory do something.
 * @throws what the lab answers · `not_found` when no lab runs there
 */
export async function commandLab<Name extends CommandName>(
  directory: string,
  name: Name,
  input: Commands[Name],
): Promise<unknown> {
  const call = request({ socketPath: controlSocketPath(directory), path: `/${name}`, method: 'POST' });
  call.end(JSON.stringify(input));
  let response: IncomingMessage;
  try {
    [response] = (await once(call, 'response')) as [IncomingMessage];
  } catch (cause) {
    throw new SendenseError(
      'not_found',
      `no lab runs in ${directory}: start it with sendense-lab serve --dir ${directory}`,
      { cause },
    );
  }
  let text = '';
  for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) text += chunk;
  const answer = JSON.parse(text) as { result?: unknown; error?: { code: string; message: string } };
  if (!answer.error) return answer.result;
  const { code, message } = answer.error;
  throw new SendenseError(isErrorCode(code) ? code : 'internal', message);
}
