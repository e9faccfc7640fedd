import type { Command } from 'commander';
import { createLogger, listenAddress, OwnedStack, type Listen } from '@sendense/runtime';
import { describeAccess } from '../control/commands.js';
import { ControlServer } from '../control/control-server.js';
import { startLab } from '../lab.js';
import { directoryOption } from './commands.js';
import { each, wholeNumber } from './values.js';

interface ServeOptions {
  readonly dir: string;
  readonly listen: Listen;
  readonly username?: string;
  readonly taskMs: number;
  readonly sessionIdleMs: number;
  readonly keepFrozen?: boolean;
  readonly changeIdsInFirstSnapshot?: boolean;
  readonly hostName?: readonly string[];
  readonly verbose?: boolean;
}

export function addServe(program: Command): void {
  const listen = listenAddress('where the API listens', { host: '127.0.0.1', port: 0 });
  program
    .command('serve')
    .description('run the simulated vCenter until it is told to stop (SIGTERM, Ctrl-C)')
    .addOption(directoryOption())
    .option(
      '-l, --listen <host:port>',
      'where the API listens; port 0 takes a free one',
      listen.parse,
      listen.parse(undefined),
    )
    .option('--username <name>', 'who may log in (default: administrator@vsphere.local)')
    .option('--task-ms <ms>', 'how long tasks take, at least', wholeNumber, 50)
    .option('--session-idle-ms <ms>', 'how long an unused session lives', wholeNumber, 1_800_000)
    .option('--keep-frozen', 'keep the image of every snapshot ever taken, for comparing')
    .option(
      '--change-ids-in-first-snapshot',
      'the first snapshot after switching change tracking on has changeIds (default: those after it)',
    )
    .option(
      '--host-name <name>',
      'a name under which clients reach it; may be repeated',
      each((name) => name),
    )
    .option('-v, --verbose', 'log every call to stderr')
    .addHelpText(
      'after',
      '\nThe first line on stdout is JSON: endpoint, thumbprints, username, password_file, vddk_libdir, vddk_env.' +
        '\nThe password is made at the first start; put one of your own into DIR/password before, if you want.' +
        '\n\nExample:\n  sendense-lab serve --dir /tmp/lab --listen 127.0.0.1:8443 --keep-frozen',
    )
    .action(async (options: ServeOptions) => serve(options));
}

async function serve(options: ServeOptions): Promise<void> {
  const log = createLogger({ service: 'sendense-lab', level: options.verbose ? 'debug' : 'info' });
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });
  await using owned = new OwnedStack(log);
  const lab = owned.use(
    'lab',
    await startLab({
      directory: options.dir,
      listen: options.listen,
      taskDurationMs: options.taskMs,
      sessionIdleMs: options.sessionIdleMs,
      keepFrozenImages: options.keepFrozen ?? false,
      changeIdsInFirstSnapshot: options.changeIdsInFirstSnapshot ?? false,
      hostNames: options.hostName ?? [],
      log,
      ...(options.username === undefined ? {} : { username: options.username }),
    }),
  );
  owned.use('control socket', await ControlServer.start(lab));
  process.stdout.write(`${JSON.stringify(describeAccess(lab))}\n`);
  await stopped;
}
