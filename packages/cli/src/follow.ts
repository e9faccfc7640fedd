import type { Command } from 'commander';
import { delay } from '@sendense/runtime';
import { FINAL_STATES, type Backup } from './api-types.js';
import { liveView, notes, progressLine, showBackup } from './backup-view.js';
import { ApiError } from './client.js';
import { EXIT, type CommandContext } from './command-context.js';

const POLL_MS = 500;
const LINE_EVERY_MS = 5000;
/** A hub that is restarted in the meantime is waited for this long. */
const UNREACHABLE_MS = 60_000;

/**
 * Shows a backup until it ends: a live view on a terminal, plain lines when piped. Asking again, rather than holding a
 * stream open, survives a restart of the hub.
 */
export async function followBackup(
  context: CommandContext,
  command: Command,
  backupId: string,
): Promise<void> {
  const { json } = command.optsWithGlobals<{ json?: boolean }>();
  let lastLine = '';
  let lastLineAt = 0;
  for (;;) {
    const backup = await getPatiently(context, backupId);
    if (FINAL_STATES.has(backup.state)) {
      finish(context, backup, json === true);
      return;
    }
    if (context.tty && !json) {
      context.draw(liveView(backup));
    } else {
      const line = `${backup.backup_id}\t${backup.state}\t${progressLine(backup)}`;
      const stateChanged = line.split('\t')[1] !== lastLine.split('\t')[1];
      if (stateChanged || (line !== lastLine && Date.now() - lastLineAt >= LINE_EVERY_MS)) {
        context.note(line);
        lastLine = line;
        lastLineAt = Date.now();
      }
    }
    await delay(POLL_MS);
  }
}

async function getPatiently(context: CommandContext, backupId: string): Promise<Backup> {
  const end = Date.now() + UNREACHABLE_MS;
  for (;;) {
    try {
      return await context.api().get<Backup>(`/api/v1/backups/${encodeURIComponent(backupId)}`);
    } catch (error) {
      const passing = error instanceof ApiError && (error.status === 0 || error.status === 503);
      if (!passing || Date.now() > end) throw error;
      context.note('the hub does not answer; waiting for it');
      await delay(POLL_MS * 4);
    }
  }
}

function finish(context: CommandContext, backup: Backup, json: boolean): void {
  context.exitCode =
    backup.state === 'completed' ? EXIT.done : backup.state === 'cancelled' ? EXIT.cancelled : EXIT.failed;
  if (json) {
    context.print(JSON.stringify(backup, undefined, 2));
  } else if (backup.state === 'completed') {
    if (context.tty) context.draw(liveView(backup));
    context.print([`${backup.backup_id} completed.`, notes(backup)].filter((line) => line !== '').join('\n'));
  } else {
    context.print(showBackup(backup, context.tty));
  }
}
