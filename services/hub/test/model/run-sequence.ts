import { backUp, cancelBackup, crashBackup, removeDuringBackup } from './backups.js';
import { guestWrites } from './guest.js';
import { addDisk, forget, growDisk, lie, removeDisk, revert } from './machine.js';
import { Prover } from './problems.js';
import { Random } from './random.js';
import { cancelRemoval, crashRemoval, hold, prune, remove, removeAll } from './removals.js';
import { requireThat } from './require-that.js';
import type { Sequence, StepKind } from './sequence.js';
import { Subject } from './subject.js';
import { hideImage, flipByte, rescan, verify } from './verifications.js';
import type { World } from './world.js';

/** The first thing that was not as the model has it. */
export interface Failure {
  /** From 0 on; as many as there are steps for what was found at the end. */
  readonly step: number;
  readonly kind: StepKind | 'end';
  readonly problems: readonly string[];
}

type Action = (subject: Subject, random: Random) => void | Promise<void>;

const ACTIONS: Record<StepKind, Action> = {
  write: ({ vm }, random) => guestWrites(vm, random),
  incremental: (subject, random) => backUp(subject, 'incremental', random),
  full: (subject, random) => backUp(subject, 'full', random),
  'cancelled backup': cancelBackup,
  'crashed backup': crashBackup,
  'removal while a backup runs': removeDuringBackup,
  remove,
  'crashed removal': crashRemoval,
  'cancelled removal': cancelRemoval,
  prune,
  hold: (subject, random) => hold(subject, random, true),
  release: (subject, random) => hold(subject, random, false),
  verify: (subject, random) => verify(subject, random, false),
  'quick verify': (subject, random) => verify(subject, random, true),
  'flipped byte': flipByte,
  'missing image': hideImage,
  rescan,
  restart: async ({ world }) => {
    await world.stopHub();
    await world.startHub();
  },
  'grow disk': growDisk,
  'add disk': addDisk,
  'remove disk': removeDisk,
  revert,
  'change tracking lies': lie,
  'change tracking forgets': forget,
};

/** Only the world changes: there is nothing to prove. */
const WITHOUT_HUB: readonly StepKind[] = [
  ...(['write', 'grow disk', 'add disk', 'remove disk', 'revert'] as const),
  ...(['change tracking lies', 'change tracking forgets'] as const),
];

/**
 * Does the steps on a hub and on the model, and compares after each. At the end everything is read again, and all points
 * are removed, after which nothing may be there.
 *
 * @returns undefined when all was as it should be
 */
export async function runSequence(
  world: World,
  { seed, steps }: Sequence,
  onStep?: (index: number, kind: string) => void,
): Promise<Failure | undefined> {
  world.logged = [];
  let step = 0;
  try {
    const subject = await Subject.create(world, `vm${seed}`, new Random(seed));
    const prover = new Prover(subject);
    for (const { kind, seed: stepSeed } of steps) {
      onStep?.(step, kind);
      world.counts.add('steps');
      await ACTIONS[kind](subject, new Random(stepSeed));
      if (!WITHOUT_HUB.includes(kind)) requireNone(await prover.problems());
      step++;
    }
    requireNone(await prover.problemsAnew());
    await removeAll(subject);
    requireNone(await prover.problems());
    return undefined;
  } catch (error) {
    const kind = steps[step]?.kind ?? 'end';
    return { step, kind, problems: String(error instanceof Error ? error.message : error).split('\n') };
  }
}

function requireNone(problems: readonly string[]): void {
  requireThat(problems.length === 0, problems.join('\n'));
}
