import { toSendenseError } from '@sendense/core';
import { createLogger, ServiceManager, versionLine, withDeadline } from '@sendense/runtime';
import { readConfig } from '../config.js';
import { EX_IN_USE } from '../exit-codes.js';
import { createHub, type Hub } from '../hub.js';

/** Asks to end when the backups that run now have ended; packages use it before an upgrade. */
const DRAIN_SIGNAL = 'SIGUSR2';

/**
 * Runs the hub until SIGTERM or SIGINT; a second one ends it at once. SIGUSR2 drains it first: no new backups, those that
 * run go on to their end, and then it stops. What cannot be released in time is left to the next start.
 *
 * @returns the exit code
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
  const inTime = await stop(hub, service, config.stopTimeoutMs);
  if (typeof why !== 'string') return EX_IN_USE;
  return inTime ? 0 : 1;
}

/** @returns whether everything was released */
async function stop(hub: Hub, service: ServiceManager, timeoutMs: number): Promise<boolean> {
  const { log, runs } = hub.context;
  try {
    await withDeadline('stopping', timeoutMs, async () => {
      await service.stopping();
      await hub[Symbol.asyncDispose]();
    });
    log.info('the hub has stopped');
    return true;
  } catch (error) {
    const unfinished = runs.running().map(({ jobId, state }) => ({ jobId, state }));
    log.fatal(
      { code: toSendenseError(error).code, unfinished },
      `stopping took longer than SENDENSE_STOP_SECONDS (${timeoutMs / 1000}): the hub ends at once; ` +
        'its next start finishes or fails these backups and removes what is left of them',
    );
    return false;
  }
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
