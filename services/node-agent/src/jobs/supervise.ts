import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { toErrorDetail } from '@sendense/contracts';
import { SendenseError, toSendenseError } from '@sendense/core';
import { OwnedStack, type Logger, type LogLevel } from '@sendense/runtime';
import type { SupervisedJob } from '../backup-client/spec.js';
import { jobDirectory } from '../config.js';
import { runBackupClient, type ClientEnd } from './backup-client-process.js';
import type { EventLog, JobEventBody } from './event-log.js';
import type { JobRunner } from './job-registry.js';
import { sweepAfterDeath } from './sweep-after-death.js';

export interface SuperviseOptions {
  readonly dataDirectory: string;
  readonly runtimeDirectory: string;
  readonly logLevel: LogLevel;
  readonly clientEnvironment?: Readonly<Record<string, string>>;
  readonly log: Logger;
}

/**
 * Runs each backup in a process of its own, and answers for what that process cannot release itself: when it dies, its
 * snapshot is removed here, with the credentials that the job still holds. The last event comes when all of it is gone.
 */
export function backupRunner(options: SuperviseOptions): JobRunner {
  return {
    run: (spec, events, signal) => superviseBackup(spec, events, signal, options),
    forget: (jobId) => rm(jobDirectory(options.dataDirectory, jobId), { recursive: true, force: true }),
  };
}

async function superviseBackup(
  spec: SupervisedJob,
  events: EventLog,
  signal: AbortSignal,
  options: SuperviseOptions,
): Promise<void> {
  const log = options.log.child({ jobId: spec.jobId, vmMoref: spec.vm.moref });
  events.append({ $case: 'accepted', value: { nodeName: spec.nodeName, diskCount: spec.disks.length } });
  let last: JobEventBody;
  try {
    last = await backUp(spec, events, signal, { ...options, log });
  } catch (error) {
    last = { $case: 'failed', value: toErrorDetail(toSendenseError(error)) };
  }
  if (last.$case === 'failed') log.error({ ...last.value }, 'backup failed');
  else log.info('backup finished');
  events.append(last);
}

async function backUp(
  spec: SupervisedJob,
  events: EventLog,
  signal: AbortSignal,
  options: SuperviseOptions,
): Promise<JobEventBody> {
  const { log } = options;
  await using owned = new OwnedStack(log);
  const hashesDirectory = jobDirectory(options.dataDirectory, spec.jobId);
  await mkdir(hashesDirectory, { recursive: true, mode: 0o700 });
  // Its name is short and random: a unix socket's path holds 107 bytes, and a job's id alone may take most of them.
  const socketDirectory = await mkdtemp(join(options.runtimeDirectory, 'job-'));
  owned.defer('folder of sockets', () => rm(socketDirectory, { recursive: true, force: true }));
  log.info({ disks: spec.disks.length }, 'backup starts');
  const end = await runBackupClient(
    { ...spec, hashesDirectory, socketDirectory },
    { ...options, onEvent: (event) => events.append(event) },
    signal,
  );
  if (end.last) return end.last;
  // Before that phase nothing was touched.
  if (end.phase !== 'preparing')
    for (const event of await sweepAfterDeath(spec, end.phase, log)) events.append(event);
  return { $case: 'failed', value: toErrorDetail(deathCause(end, signal)) };
}

/** A job that was asked to stop failed because of that, however its process ended. */
function deathCause(end: ClientEnd, signal: AbortSignal): SendenseError {
  return signal.aborted && signal.reason instanceof SendenseError ? signal.reason : end.death;
}
