import { readFileSync } from 'node:fs';
import { delay, processesOwnedBy, type Logger } from '@sendense/runtime';

const POLL_MS = 100;
const POLLS = 20;

/**
 * Ends what a dead backup client left running. nbdkit ends with the client that started it; one that hangs in a VMware call
 * may not. Its command line names the job's own folder of sockets, so that those of other jobs are left alone.
 *
 * @param owner the mark of our child processes
 */
export async function endLeftovers(owner: string, socketDirectory: string, log: Logger): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    for (const { pid, command } of leftovers(owner, socketDirectory)) {
      log.warn({ pid, command, signal }, 'ending what a dead backup client left');
      try {
        process.kill(pid, signal);
      } catch {
        // Gone already.
      }
    }
    for (let polls = 0; polls < POLLS && leftovers(owner, socketDirectory).length > 0; polls++)
      await delay(POLL_MS);
  }
}

function leftovers(owner: string, socketDirectory: string): { pid: number; command: string }[] {
  return processesOwnedBy(owner).filter(({ pid }) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(socketDirectory);
    } catch {
      return false;
    }
  });
}
