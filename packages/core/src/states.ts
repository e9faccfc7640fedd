// How far a backup or a task is: the words of the catalogue, the API and the CLI.

export const ACTIVE_BACKUP_STATES = ['queued', 'preparing', 'running', 'sealing', 'cancelling'] as const;

/** Of backups and of tasks: nothing follows. */
export const FINAL_STATES = ['completed', 'failed', 'cancelled'] as const;

export const BACKUP_STATES = [...ACTIVE_BACKUP_STATES, ...FINAL_STATES] as const;

export const UNFINISHED_TASK_STATES = ['queued', 'running'] as const;

export const TASK_STATES = [...UNFINISHED_TASK_STATES, ...FINAL_STATES] as const;

/** `remove`: one restore point. `prune`: what a retention policy lets go of one VM in one repository. */
export const TASK_KINDS = ['verify', 'remove', 'prune', 'rescan', 'export'] as const;
export type TaskKind = (typeof TASK_KINDS)[number];

export function isFinal(state: string): boolean {
  return FINAL_STATES.some((final) => final === state);
}
