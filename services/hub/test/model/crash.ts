import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CrashSpec } from './crash-process.js';
import { requireThat } from './require-that.js';
import type { Subject } from './subject.js';

const CRASH_PROCESS = fileURLToPath(new URL('./crash-process.js', import.meta.url));

/** Ends this hub, has another one killed at its work, and starts a third. */
export async function crash(subject: Subject, work: CrashSpec['work'], steps: number): Promise<void> {
  const { world } = subject;
  await world.stopHub();
  const spec: CrashSpec = { place: world.place, work, steps };
  const child = fork(CRASH_PROCESS, [JSON.stringify(spec)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    // Most of what such a process does is to load the hub.
    env: { ...process.env, NODE_COMPILE_CACHE: join(world.folder, 'compiled') },
  });
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  world.counts.add(work.kind === 'backup' ? 'crashes of a backup' : 'crashes of a removal');
  await world.startHub();
  requireThat(signal === 'SIGKILL', `the hub that was to crash ended with ${code ?? signal}`);
}
