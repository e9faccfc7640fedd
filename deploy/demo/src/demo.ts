import { resolve } from 'node:path';
import { NODE_NAME, Stage, startLab, startPair } from '@sendense/stage';
import { makeGuestDisks } from './guest-disks.js';
import { KEEP_STEP, nextSteps, runningSteps } from './next-steps.js';
import { carriersLeft } from './proof.js';
import { configure, createVm, say, showEverything, type Facts } from './show.js';

const VM = 'pgtest1';
/** In the root of the checkout. */
export const DEFAULT_DIRECTORY = resolve(import.meta.dirname, '../../../../.demo');

/** Of this demo, which can also count the processes. */
interface LocalFacts extends Facts {
  readonly processes_left: number;
}

/** @returns whether everything that the demo shows was true */
export async function runDemo(directory: string, keep: boolean): Promise<boolean> {
  const stage = await Stage.prepare(directory);
  try {
    say('making the guest disks: partition tables, ext4, files');
    const disks = await makeGuestDisks(stage.path('work'));
    say('starting the lab (a simulated vCenter), the hub and the node');
    const lab = await startLab(stage);
    await createVm(stage, VM, disks);
    const pair = await startPair(stage, lab);
    const configured = await configure(pair, {
      ...{ lab, node: NODE_NAME, vm: VM },
      repositoryPath: stage.path('repository'),
    });
    const shown = await showEverything(stage, pair, { vm: VM, ...configured, disks });
    const processes_left = await carriersLeft(stage);
    const facts: LocalFacts = { ...shown, ok: shown.ok && processes_left === 0, processes_left };
    console.log(nextSteps(stage, facts));
    const where = directory === DEFAULT_DIRECTORY ? undefined : directory;
    console.log(keep ? runningSteps(stage, pair, configured.repositoryId, VM, where) : KEEP_STEP);
    console.log(JSON.stringify(facts));
    return facts.ok;
  } finally {
    if (!keep) await Stage.stop(directory);
  }
}
