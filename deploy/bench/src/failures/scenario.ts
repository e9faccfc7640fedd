import type { Ground, Told } from './ground.js';

/** Requirement C11. */
const SOON = 10;

export interface Scenario {
  readonly title: string;
  /** Seconds from the strike until somebody is told. */
  readonly limit: number;
  readonly outcome: Told['outcome'];
  /** Of the error or the warning; '' when there is none. */
  readonly code: string;
  /** Only where the repository is a file system of its own. */
  readonly needsMount: boolean;
  /** Breaks something, calls `strike` when it is broken, and sees what is told. */
  readonly run: (ground: Ground, strike: () => void) => Promise<Told>;
  /** Puts right what does not right itself. */
  readonly mend: (ground: Ground) => unknown;
}

/** A failure that is told as an error within 10 s. @param more what is otherwise */
export function failure(
  title: string,
  code: string,
  run: Scenario['run'],
  more: Partial<Scenario> = {},
): Scenario {
  return { title, code, run, limit: SOON, outcome: 'error', needsMount: false, mend: () => {}, ...more };
}

/** Something is broken before a backup is asked for. */
export function before(breakIt: (ground: Ground) => unknown): Scenario['run'] {
  return async (ground, strike) => {
    await breakIt(ground);
    strike();
    return ground.backUp();
  };
}

/** Something breaks while bytes flow. */
export function inTheMiddle(
  breakIt: (ground: Ground, qemuNbdPids: readonly number[]) => unknown,
): Scenario['run'] {
  return async (ground, strike) => {
    const { backup_id: id, disk_results: disks } = await ground.flowing();
    const pids = disks.flatMap(({ qemu_nbd_pid: pid }) => pid ?? []);
    strike();
    await breakIt(ground, pids);
    return ground.end(id);
  };
}

/** A request that is answered, or refused. */
export function asking(path: string, body: (ground: Ground) => object): Scenario['run'] {
  return async (ground, strike) => {
    strike();
    return ground.ask(path, body(ground));
  };
}
