import { versionLine, withDeadline, createLogger } from '@sendense/runtime';
import { readConfig } from '../config.js';
import { createHub } from '../hub.js';

/** What stopping may take before the process ends anyway; systemd gives 90 s. */
const STOP_TIMEOUT_MS = 80_000;

/** Runs the hub until SIGTERM or SIGINT; a second signal ends it at once. @returns the exit code */
export async function run(env: NodeJS.ProcessEnv): Promise<number> {
  const config = readConfig(env);
  const log = createLogger({ service: 'sendense-hub', level: config.logLevel });
  log.info({ dataDirectory: config.dataDirectory }, `${versionLine('sendense-hub')} starts`);
  const asked = nextSignal();
  const hub = await createHub(config, log);
  log.info({ api: hub.apiAddress, tunnel: hub.tunnelAddress }, 'the hub runs');
  log.info({ signal: await asked }, 'the hub stops');
  void nextSignal().then((signal) => {
    log.warn({ signal }, 'asked again: the hub ends at once; the next start finishes what is left');
    process.exit(1);
  });
  await withDeadline('stopping', STOP_TIMEOUT_MS, async () => hub[Symbol.asyncDispose]());
  log.info('the hub has stopped');
  return 0;
}

function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const take = (signal: NodeJS.Signals) => {
      process.off('SIGTERM', take);
      process.off('SIGINT', take);
      resolve(signal);
    };
    process.on('SIGTERM', take);
    process.on('SIGINT', take);
  });
}
