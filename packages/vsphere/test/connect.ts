import { errorCode, SendenseError } from '@sendense/core';
import { createLogger, silentLogger, type Logger } from '@sendense/runtime';
import { connectVSphere } from '../src/session.js';
import type { ConnectOptions, VSphereSession } from '../src/types.js';
import { PASSWORD, USERNAME, type ScriptedVCenter } from './scripted-vcenter.js';

export async function connectTo(
  vcenter: ScriptedVCenter,
  options: Partial<ConnectOptions> = {},
): Promise<VSphereSession> {
  return connectVSphere({
    endpoint: vcenter.endpoint,
    username: USERNAME,
    password: PASSWORD,
    thumbprint: vcenter.thumbprints.sha256,
    log: silentLogger,
    ...options,
  });
}

/** A logger that keeps what it is told, down to trace. */
export function recordingLogger(): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  const log = createLogger({
    service: 'test',
    level: 'trace',
    destination: { write: (line: string) => void lines.push(line) },
  });
  return { log, lines };
}

/** The error that a promise ends with. */
export async function failureOf(promise: Promise<unknown>): Promise<SendenseError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof SendenseError) return error;
    throw new Error(`not one of ours (${errorCode(error)})`, { cause: error });
  }
  throw new Error('it did not fail');
}
