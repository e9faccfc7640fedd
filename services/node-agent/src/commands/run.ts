import { createLogger } from '@sendense/runtime';
import { readNodeConfig } from '../config.js';
import { createNode } from '../node.js';

/** Runs the node until SIGTERM or SIGINT. */
export async function runNode(env: NodeJS.ProcessEnv): Promise<void> {
  const config = readNodeConfig(env);
  const log = createLogger({ service: 'sendense-node', level: config.logLevel });
  const stopped = Promise.withResolvers<NodeJS.Signals>();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, stopped.resolve);
  await using _node = await createNode(config, log);
  log.info({ signal: await stopped.promise }, 'stopping');
}
