import { fileURLToPath } from 'node:url';
import { SendenseError, toSendenseError } from '@sendense/core';
import { ChildProcess, KEEP_FREED_MEMORY, type Logger, type LogLevel } from '@sendense/runtime';
import { compiledCodeDirectory } from '../config.js';
import type { AgentMessage, ClientMessage, JobPhase, JobSpec } from '../backup-client/spec.js';
import type { JobEventBody } from './event-log.js';
import { endLeftovers } from './leftovers.js';
import { Patience } from './patience.js';

/**
 * Almost everything that a client allocates is garbage at once: 1 MiB of young generation is as quick as V8's own 16, and
 * saves 20 MiB of memory. To collect so little, waking other threads costs more than they do.
 */
const NODE_OPTIONS = [
  '--disable-warning=ExperimentalWarning',
  '--max-semi-space-size=1',
  '--single-threaded-gc',
];
/**
 * The buffers of its copies are a pool of its own; what is freed and wanted again is little. V8's and libuv's threads do
 * well with two of glibc's arenas, of which there would be eight for each core: 20 MiB less.
 */
const MEMORY = {
  ...KEEP_FREED_MEMORY,
  MALLOC_TRIM_THRESHOLD_: String(4 << 20),
  MALLOC_ARENA_MAX: '2',
};
const ENTRY = fileURLToPath(new URL('../backup-client/agent-entry.js', import.meta.url));

export interface ClientOptions {
  readonly runtimeDirectory: string;
  readonly logLevel: LogLevel;
  readonly clientEnvironment?: Readonly<Record<string, string>>;
  readonly log: Logger;
  /** Every event but the last. */
  readonly onEvent: (event: JobEventBody) => void;
}

/** How a backup client ended; its process and those it started are gone. */
export interface ClientEnd {
  /** `finished` or `failed`; undefined when it died without a word, and may have left its snapshot. */
  readonly last: JobEventBody | undefined;
  /** What it was doing last. */
  readonly phase: JobPhase;
  /** How it died, for when `last` is undefined. */
  readonly death: SendenseError;
}

/**
 * Runs one `sendense-backup-client` to its end. The spec, which holds secrets, goes over IPC. Aborting asks the client to
 * stop, then makes it; either way this returns only when it is gone.
 *
 * @throws `process_failed` when it cannot be started
 */
export async function runBackupClient(
  spec: JobSpec,
  options: ClientOptions,
  signal: AbortSignal,
): Promise<ClientEnd> {
  const { log, logLevel, onEvent } = options;
  await using client = await spawnClient(spec, options);
  using patience = new Patience(client, log);
  let last: JobEventBody | undefined;
  client.ipc.on('message', (message: ClientMessage) => {
    if (message.type === 'phase') {
      patience.enter(message.phase);
    } else if (message.event.$case === 'finished' || message.event.$case === 'failed') {
      last = message.event;
      patience.farewell();
    } else {
      onEvent(message.event);
    }
  });
  tell(client, { type: 'start', spec, logLevel }, log);
  const stop = () => {
    const { code, message } = toSendenseError(signal.reason);
    tell(client, { type: 'stop', code: code === 'shutting_down' ? code : 'cancelled', message }, log);
    patience.stopping();
  };
  if (signal.aborted) stop();
  else signal.addEventListener('abort', stop, { once: true });
  try {
    await client.exited;
  } finally {
    signal.removeEventListener('abort', stop);
  }
  if (!last) await endLeftovers(spec.owner, spec.socketDirectory, log);
  return { last, phase: patience.phase, death: deathOf(client, spec) };
}

const ADVICE =
  "the node's system log (journalctl) tells who killed it or why it crashed; then start the backup again";

function deathOf(client: ChildProcess, { jobId, nodeName }: JobSpec): SendenseError {
  const what = `the backup client of job ${jobId} on node ${nodeName} died`;
  const { code, message, context } = client.failure('process_failed', what, { job_id: jobId });
  return new SendenseError(code, `${message}; ${ADVICE}`, { context });
}

async function spawnClient(
  { jobId, owner }: JobSpec,
  { log, runtimeDirectory, clientEnvironment }: ClientOptions,
): Promise<ChildProcess> {
  const args = [...NODE_OPTIONS, ENTRY, compiledCodeDirectory(runtimeDirectory)];
  return ChildProcess.spawn(process.execPath, args, {
    name: `backup client of ${jobId}`,
    owner,
    log,
    ipc: true,
    filterLine: (line) => passLogLine(line, log),
    env: { ...MEMORY, ...clientEnvironment },
  });
}

/** A message that cannot be delivered meets a client that is ending: its exit tells. */
function tell(client: ChildProcess, message: AgentMessage, log: Logger): void {
  if (!client.ipc.connected) return;
  client.ipc.send(message, (error) => {
    if (error) log.debug({ type: message.type, error: error.message }, 'the backup client was not told');
  });
}

/** The client's own log lines go to the agent's log, which names the job already; other lines are kept for the error. */
function passLogLine(line: string, log: Logger): string | undefined {
  if (!line.startsWith('{')) return line;
  try {
    const {
      level,
      msg,
      service: _service,
      pid: clientPid,
      time: _time,
      jobId: _jobId,
      ...fields
    } = JSON.parse(line) as Record<string, unknown>;
    const write = level === 'error' || level === 'warn' || level === 'info' ? level : 'debug';
    log[write]({ ...fields, clientPid }, String(msg));
    return undefined;
  } catch {
    return line;
  }
}
