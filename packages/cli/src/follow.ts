import type { Command } from 'commander';
import { isFinal } from '@sendense/core';
import type { Backup, Task } from './api-types.js';
import { liveView, notes, progressLines, showBackup } from './backup-view.js';
import { ApiError } from './client.js';
import { EXIT, type CommandContext } from './command-context.js';
import { taskExitCode, taskLiveView, taskOutcome, taskProgress } from './task-view.js';

const POLL_MS = 500;
const LINE_EVERY_MS = 5000;
/** A hub that is restarted in the meantime is waited for this long. */
const UNREACHABLE_MS = 60_000;

/** What is followed: where it is asked for and how it is shown while it goes on. */
interface Followed<T> {
  readonly path: string;
  readonly id: string;
  /** On a terminal: lines that replace each other. */
  readonly live: (now: T) => string;
  /** Piped: the ends of the lines; without any it is one line with the state. */
  readonly progress: (now: T) => readonly string[];
}

/** Shows a backup until it ends; the exit code is its outcome. */
export async function followBackup(
  context: CommandContext,
  command: Command,
  backupId: string,
): Promise<void> {
  const path = `/api/v1/backups/${encodeURIComponent(backupId)}`;
  const backup = await follow<Backup>(context, command, {
    ...{ path, id: backupId, live: liveView, progress: progressLines },
  });
  context.exitCode =
    backup.state === 'completed' ? EXIT.done : backup.state === 'cancelled' ? EXIT.cancelled : EXIT.failed;
  if (inJson(command)) {
    context.print(JSON.stringify(backup, undefined, 2));
  } else if (backup.state === 'completed') {
    if (context.tty) context.draw(liveView(backup));
    context.print([`${backup.backup_id} completed.`, notes(backup)].filter((line) => line !== '').join('\n'));
  } else {
    context.print(showBackup(backup, context.tty));
  }
}

/** Shows a task until it ends; the exit code is its outcome. */
export async function followTask(context: CommandContext, command: Command, taskId: string): Promise<void> {
  const path = `/api/v1/tasks/${encodeURIComponent(taskId)}`;
  const task = await follow<Task>(context, command, {
    ...{ path, id: taskId, live: taskLiveView, progress: progressOf },
  });
  context.exitCode = taskExitCode(task);
  if (context.tty && !inJson(command)) context.draw(taskLiveView(task));
  context.print(inJson(command) ? JSON.stringify(task, undefined, 2) : taskOutcome(task));
}

function progressOf(task: Task): string[] {
  const progress = taskProgress(task);
  return progress === task.state ? [] : [progress];
}

/**
 * Asks until it has ended: a live view on a terminal, plain lines when piped. Asking again, rather than holding a stream
 * open, survives a restart of the hub.
 */
async function follow<T extends { readonly state: string }>(
  context: CommandContext,
  command: Command,
  followed: Followed<T>,
): Promise<T> {
  let last = { state: '', lines: '', at: 0 };
  for (;;) {
    const now = await getPatiently<T>(context, followed.path);
    if (isFinal(now.state)) return now;
    if (context.tty && !inJson(command)) {
      context.draw(followed.live(now));
    } else {
      const state = `${followed.id}\t${now.state}`;
      const ends = followed.progress(now);
      const lines = ends.length === 0 ? state : ends.map((end) => `${state}\t${end}`).join('\n');
      const due = lines !== last.lines && Date.now() - last.at >= LINE_EVERY_MS;
      if (now.state !== last.state || due) {
        context.note(lines);
        last = { state: now.state, lines, at: Date.now() };
      }
    }
    await context.pause(POLL_MS);
  }
}

async function getPatiently<T>(context: CommandContext, path: string): Promise<T> {
  const end = Date.now() + UNREACHABLE_MS;
  for (;;) {
    try {
      return await context.api().get<T>(path);
    } catch (error) {
      const passing = error instanceof ApiError && (error.status === 0 || error.status === 503);
      if (!passing || Date.now() > end) throw error;
      context.note('the hub does not answer; waiting for it');
      await context.pause(POLL_MS * 4);
    }
  }
}

function inJson(command: Command): boolean {
  return command.optsWithGlobals<{ json?: boolean }>().json === true;
}
