import { createLogger, ServiceManager, versionLine, withDeadline } from '@sendense/runtime';
import { readConfig } from '../config.js';
import { createHub, type Hub } from '../hub.js';

/** What stopping may take before the process ends anyway; systemd gives 90 s. */
const STOP_TIMEOUT_MS = 80_000;

/** Asks to end when the backups that run now have ended; packages use it before an upgrade. */
const DRAIN_SIGNAL = 'SIGUSR2';

/**
 * Runs the hub until SIGTERM or SIGINT; a second one ends it at once. SIGUSR2 drains it first: no new backups, those that
 * run go on to their end, and then it stops. @returns the exit code
 */
export async function run(env: NodeJS.ProcessEnv): Promise<number> {
  const config = readConfig(env);
  const log = createLogger({ service: 'sendense-hub', level: config.logLevel });
  log.info({ dataDirectory: config.dataDirectory }, `${versionLine('sendense-hub')} starts`);
  using service = new ServiceManager(env, log);
  const asked = nextSignal('SIGTERM', 'SIGINT');
  const askedToDrain = nextSignal(DRAIN_SIGNAL);
  const hub = await createHub(config, log);
  log.info({ api: hub.apiAddress, tunnel: hub.tunnelAddress }, 'the hub runs');
  await service.ready();
  const drained = askedToDrain.then(() => drain(hub, service));
  const why = await Promise.race([asked, drained, hub.takenOver]);
  if (typeof why === 'string') log.info({ signal: why }, 'the hub stops');
  else log.fatal({ code: why.code, error: why.message }, 'another hub has the catalogue now: this one stops');
  void nextSignal('SIGTERM', 'SIGINT').then((signal) => {
    log.warn({ signal }, 'asked again: the hub ends at once; the next start finishes what is left');
    process.exit(1);
  });
  await service.stopping();
  await withDeadline('stopping', STOP_TIMEOUT_MS, async () => hub[Symbol.asyncDispose]());
  log.info('the hub has stopped');
  return typeof why === 'string' ? 0 : 1;
}

async function drain(hub: Hub, service: ServiceManager): Promise<NodeJS.Signals> {
  const { log, runs } = hub.context;
  const running = runs.running().length;
  log.info({ running }, 'no new backups are taken; the hub stops when those that run have ended');
  await service.status(`draining: stops when the backups that run have ended (${running} now)`);
  await runs.drain();
  return DRAIN_SIGNAL;
}

function nextSignal(...signals: readonly NodeJS.Signals[]): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const take = (signal: NodeJS.Signals) => {
      for (const each of signals) process.off(each, take);
      resolve(signal);
    };
    for (const each of signals) process.on(each, take);
  });
}
