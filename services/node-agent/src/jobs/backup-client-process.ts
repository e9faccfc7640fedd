import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { toSendenseError, type SendenseError } from '@sendense/core';
import { ChildProcess, delay, processesOwnedBy, type Logger, type LogLevel } from '@sendense/runtime';
import { REMOVE_DEADLINE_MS } from '../backup-client/snapshot.js';
import type { AgentMessage, ClientMessage, JobPhase, JobSpec } from '../backup-client/spec.js';
import type { JobEventBody } from './event-log.js';

const ENTRY = fileURLToPath(new URL('../backup-client/main.js', import.meta.url));

/**
 * How long a client may go on in each phase after it was asked to stop, before it is made to. Creating and removing a
 * snapshot have deadlines of their own in the client; here it is for a client that hangs there.
 */
const PATIENCE_MS: Readonly<Record<JobPhase, number>> = {
  preparing: 5000,
  creating_snapshot: REMOVE_DEADLINE_MS + 5 * 60_000,
  copying: 15_000,
  removing_snapshot: REMOVE_DEADLINE_MS + 5 * 60_000,
  ending: 15_000,
};
/** How long a client may take to end after its last event. */
const FAREWELL_MS = 5000;

export interface ClientOptions {
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
  const { log } = options;
  await using client = await ChildProcess.spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--enable-source-maps', ENTRY, 'job'],
    {
      name: `backup client of ${spec.jobId}`,
      owner: spec.owner,
      log,
      ipc: true,
      filterLine: (line) => passLogLine(line, log),
      ...(options.clientEnvironment ? { env: options.clientEnvironment } : {}),
    },
  );
  let last: JobEventBody | undefined;
  let phase: JobPhase = 'preparing';
  const patience = new Patience(client, log);
  client.ipc.on('message', (message: ClientMessage) => {
    if (message.type === 'phase') {
      phase = message.phase;
      patience.enter(phase);
    } else if (message.event.$case === 'finished' || message.event.$case === 'failed') {
      last = message.event;
      patience.farewell();
    } else {
      options.onEvent(message.event);
    }
  });
  const send = (message: AgentMessage) => {
    // A message that cannot be delivered meets a client that is ending: its exit tells.
    if (client.ipc.connected)
      client.ipc.send(message, (error) => error && log.debug({ error }, 'not delivered'));
  };
  const onAbort = () => {
    const { code, message } = toSendenseError(signal.reason);
    send({ type: 'stop', code: code === 'shutting_down' ? code : 'cancelled', message });
    patience.start();
  };
  send({ type: 'start', spec, logLevel: options.logLevel });
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  try {
    await client.exited;
  } finally {
    signal.removeEventListener('abort', onAbort);
    patience[Symbol.dispose]();
  }
  if (!last) await endLeftovers(spec, log);
  const death = client.failure('process_failed', `the backup client of job ${spec.jobId} died`, {
    job_id: spec.jobId,
  });
  return { last, phase, death };
}

/** Ends a client that does not end by itself: SIGTERM, then SIGKILL (ChildProcess). Each phase gets its own time. */
class Patience implements Disposable {
  #timer: NodeJS.Timeout | undefined;
  #stopping = false;
  #phase: JobPhase = 'preparing';

  constructor(
    private readonly client: ChildProcess,
    private readonly log: Logger,
  ) {}

  start(): void {
    this.#stopping = true;
    this.enter(this.#phase);
  }

  enter(phase: JobPhase): void {
    this.#phase = phase;
    if (this.#stopping) this.#arm(PATIENCE_MS[phase]);
  }

  farewell(): void {
    this.#arm(FAREWELL_MS);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #arm(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.log.warn({ phase: this.#phase, afterMs: ms }, 'the backup client does not end by itself');
      void this.client.terminate();
    }, ms);
  }
}

/** The client's own log lines go to the agent's log as they are; other lines are kept for the error. */
function passLogLine(line: string, log: Logger): string | undefined {
  if (!line.startsWith('{')) return line;
  try {
    const {
      level,
      msg,
      service: _service,
      pid: clientPid,
      time: _time,
      ...fields
    } = JSON.parse(line) as Record<string, unknown>;
    const write = level === 'error' || level === 'warn' || level === 'info' ? level : 'debug';
    log[write]({ ...fields, clientPid }, String(msg));
    return undefined;
  } catch {
    return line;
  }
}

/**
 * nbdkit ends with the client that started it; one that hangs in a VMware call may not. Its command line names the job's
 * own folder of sockets, so that those of other jobs are left alone.
 */
async function endLeftovers({ owner, socketDirectory }: JobSpec, log: Logger): Promise<void> {
  const leftovers = () =>
    processesOwnedBy(owner).filter(({ pid }) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(socketDirectory);
      } catch {
        return false;
      }
    });
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    for (let tries = 0; tries < 20 && leftovers().length > 0; tries++) {
      if (tries === 0) {
        for (const { pid, command } of leftovers()) {
          log.warn({ pid, command, signal }, 'ending what a dead backup client left');
          try {
            process.kill(pid, signal);
          } catch {
            // Gone already.
          }
        }
      }
      await delay(100);
    }
  }
}
