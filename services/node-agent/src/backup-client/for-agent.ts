import { SendenseError, toSendenseError } from '@sendense/core';
import { createLogger } from '@sendense/runtime';
import { runJob, type JobPorts } from './job.js';
import type { AgentMessage, ClientMessage } from './spec.js';
import { stopOnSignals } from './stop-on-signals.js';

/** How long something that was forgotten may keep the process alive after its job has ended. */
const LINGER_MS = 2000;

/**
 * One job for sendense-node, which sends the spec over IPC and reads the events there. Its end, seen as the end of the
 * IPC channel, stops the job. A failure that no event could tell is a line on stderr, and exit code 1.
 */
export async function runForAgent(): Promise<void> {
  try {
    await runOneJob();
  } catch (thrown) {
    const error = toSendenseError(thrown);
    process.stderr.write(`${error.message} [${error.code}]\n`);
    process.exitCode = 1;
  }
}

async function runOneJob(): Promise<void> {
  if (!process.connected)
    throw new SendenseError(
      'invalid_argument',
      'only sendense-node starts this: by hand, use sendense-backup-client',
    );
  using stop = stopOnSignals();
  const started = Promise.withResolvers<AgentMessage & { type: 'start' }>();
  process.on('message', (message: AgentMessage) => {
    if (message.type === 'start') started.resolve(message);
    else stop.abort(new SendenseError(message.code, message.message));
  });
  process.once('disconnect', () => {
    const reason = new SendenseError('shutting_down', 'sendense-node has ended');
    stop.abort(reason);
    started.reject(reason);
  });
  const { spec, logLevel } = await started.promise;
  const log = createLogger({ service: 'sendense-backup-client', level: logLevel }).child({
    jobId: spec.jobId,
  });
  // In order, so that the last one is the last. What nobody takes any more is lost with its reader, and the disconnect
  // above has stopped the job.
  const send = (message: ClientMessage) =>
    new Promise<void>((resolve) => {
      if (process.connected && process.send) process.send(message, undefined, undefined, () => resolve());
      else resolve();
    });
  let lastSent = Promise.resolve();
  const ports: JobPorts = {
    log,
    emit: (event) => {
      lastSent = send({ type: 'event', event });
    },
    enterPhase: (phase) => send({ type: 'phase', phase }),
  };
  await runJob(spec, ports, stop.signal);
  await lastSent;
  if (process.connected) process.disconnect();
  setTimeout(() => process.exit(), LINGER_MS).unref();
}
