import { readFileSync, readdirSync } from 'node:fs';
import { hostname } from 'node:os';

/** A process of this host that stays itself: a pid alone is reused. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot at which it started (proc(5), field 22 of stat). */
  readonly startTicks: number;
  readonly host: string;
}

/** @returns undefined when there is no such process, or it is a zombie */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command name (field 2) may hold spaces and parentheses; the fields after it do not.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
    return { pid, startTicks: Number(fields[19]), host: hostname() };
  } catch {
    return undefined;
  }
}

export function isSameProcessAlive(identity: ProcessIdentity): boolean {
  if (identity.host !== hostname()) return false;
  const now = identifyProcess(identity.pid);
  return now !== undefined && now.startTicks === identity.startTicks;
}

/**
 * The environment variable that every child process of ours (and its own children) carries. Its value names the owner,
 * so that the next start finds what a killed one left behind.
 */
export const OWNER_VARIABLE = 'SENDENSE_OWNER';

/** The living processes that carry exactly this owner, other than this one. Only those of our own user can be read. */
export function processesOwnedBy(owner: string): { pid: number; command: string }[] {
  const wanted = Buffer.from(`${OWNER_VARIABLE}=${owner}`);
  return readdirSync('/proc').flatMap((entry) => {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) return [];
    try {
      const environment = readFileSync(`/proc/${pid}/environ`);
      const at = environment.indexOf(wanted);
      if (at < 0 || (at > 0 && environment[at - 1] !== 0) || (environment[at + wanted.length] ?? 0) !== 0)
        return [];
      if (identifyProcess(pid) === undefined) return [];
      return [{ pid, command: readFileSync(`/proc/${pid}/comm`, 'utf8').trim() }];
    } catch {
      return [];
    }
  });
}
