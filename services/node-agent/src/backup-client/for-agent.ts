import { SendenseError } from '@sendense/core';
import { createLogger } from '@sendense/runtime';
import { runJob } from './job.js';
import type { AgentMessage, ClientMessage } from './spec.js';
import { stopOnSignals } from './stop-on-signals.js';

/** How long something that was forgotten may keep the process alive after its job has ended. */
const LINGER_MS = 2000;

/**
 * One job for sendense-node, which sends the spec over IPC and reads the events there. Its end, seen as the end of the
 * IPC channel, stops the job.
 *
 * @throws `invalid_argument` when nobody is at the other end
 */
export async function runForAgent(): Promise<void> {
  if (!process.connected)
    throw new SendenseError('invalid_argument', 'only sendense-node starts this: by hand, use "backup"');
  using stop = stopOnSignals();
  const started = Promise.withResolvers<AgentMessage & { type: 'start' }>();
  process.on('message', (message: AgentMessage) => {
    if (message.type === 'start') started.resolve(message);
    else stop.abort(new SendenseError('cancelled', `cancelled: ${message.reason}`));
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
  let sent = Promise.resolve();
  const send = (message: ClientMessage) => {
    sent = new Promise((resolve) => {
      // A message that nobody takes any more is lost with its reader: the disconnect above has stopped the job.
      if (process.connected) process.send?.(message, undefined, undefined, () => resolve());
      else resolve();
    });
  };
  const ports = {
    log,
    emit: (event: (ClientMessage & { type: 'event' })['event']) => send({ type: 'event', event }),
    enterPhase: (phase: (ClientMessage & { type: 'phase' })['phase']) => send({ type: 'phase', phase }),
  };
  await runJob(spec, ports, stop.signal);
  await sent;
  if (process.connected) process.disconnect();
  setTimeout(() => process.exit(), LINGER_MS).unref();
}
