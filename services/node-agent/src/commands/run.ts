import { SendenseError, toSendenseError } from '@sendense/core';
import { createLogger, ServiceManager, withDeadline } from '@sendense/runtime';
import { readNodeConfig } from '../config.js';
import { createNode, type Node } from '../node.js';

/** Asks to end when the jobs that run now have ended; packages use it before an upgrade. */
const DRAIN_SIGNAL = 'SIGUSR2';

/**
 * Runs the node until SIGTERM or SIGINT. SIGUSR2 drains it first: no new jobs, and it stops when those that run have ended.
 *
 * @throws `timeout` when stopping took too long; the process has to end then, whatever is still open
 */
export async function runNode(env: NodeJS.ProcessEnv): Promise<void> {
  const config = readNodeConfig(env);
  const log = createLogger({ service: 'sendense-node', level: config.logLevel });
  using service = new ServiceManager(env, log);
  const stopped = Promise.withResolvers<NodeJS.Signals>();
  const askedToDrain = Promise.withResolvers<NodeJS.Signals>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, stopped.resolve);
  process.on(DRAIN_SIGNAL, askedToDrain.resolve);
  const node = await createNode(config, log);
  await service.ready();
  const drained = askedToDrain.promise.then(async (signal) => {
    log.info('no new jobs are taken; the node stops when those that run have ended');
    await service.status('draining: stops when the jobs that run have ended');
    await node.drain();
    return signal;
  });
  log.info({ signal: await Promise.race([stopped.promise, drained]) }, 'stopping');
  await stop(node, service, config.stopTimeoutMs);
}

async function stop(node: Node, service: ServiceManager, timeoutMs: number): Promise<void> {
  try {
    await withDeadline('stopping', timeoutMs, async () => {
      await service.stopping();
      await node[Symbol.asyncDispose]();
    });
  } catch (error) {
    const unfinished = node.runningJobs();
    throw new SendenseError(
      'timeout',
      `stopping took longer than SENDENSE_STOP_SECONDS (${timeoutMs / 1000}): the node ends at once. ` +
        `Of its jobs ${unfinished.join(', ') || 'none'} had not ended; the hub fails them, and has their snapshots removed when the node is back`,
      { cause: toSendenseError(error) },
    );
  }
}
