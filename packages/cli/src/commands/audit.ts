import type { Command } from 'commander';
import type { AuditEvent } from '../api-types.js';
import { answerTable, type CommandContext } from '../command-context.js';
import { rowLimit } from '../option-values.js';

export function addAuditCommands(program: Command, context: CommandContext): void {
  program
    .command('audit')
    .description('who did what, and what the tunnel refused, newest first')
    .option('--action <action>', 'only this action: backup.start, tunnel.refused, …')
    .option('--actor <actor>', 'only of this actor: node:site-1, token:…')
    .option('--limit <n>', 'at most this many', rowLimit, 50)
    .addHelpText('after', '\nExample:\n  sendense audit --action tunnel.refused')
    .action(async (options: { action?: string; actor?: string; limit: number }, command: Command) => {
      const { audit_events: rows } = await context
        .api()
        .get<{ audit_events: AuditEvent[] }>('/api/v1/audit-events', { ...options });
      answerTable(
        context,
        command,
        rows,
        [
          { title: 'AT', value: (row) => row.at },
          { title: 'ACTION', value: (row) => row.action },
          { title: 'OUTCOME', value: (row) => row.outcome },
          { title: 'ACTOR', value: (row) => row.actor },
          { title: 'SUBJECT', value: (row) => row.subject_id },
          { title: 'DETAIL', value: (row) => detailText(row.detail) },
        ],
        'Nothing has been recorded.',
      );
    });
}

function detailText(detail: AuditEvent['detail']): string {
  return Object.entries(detail)
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(' ');
}
