import { Random } from './random.js';

/** How often each kind of step comes, in proportion. */
const WEIGHTS = {
  write: 10,
  incremental: 34,
  full: 6,
  'cancelled backup': 5,
  'crashed backup': 3,
  'removal while a backup runs': 4,
  remove: 16,
  'crashed removal': 4,
  'cancelled removal': 4,
  prune: 5,
  hold: 2,
  release: 2,
  verify: 5,
  'quick verify': 3,
  'flipped byte': 3,
  'missing image': 3,
  rescan: 3,
  restart: 1,
  'grow disk': 3,
  'add disk': 3,
  'remove disk': 3,
  revert: 3,
  'change tracking lies': 3,
  'change tracking forgets': 3,
} as const;

export type StepKind = keyof typeof WEIGHTS;

/**
 * What a step does to what (which disk, which point) is drawn from its own seed when it is done. So a step means something
 * wherever it stands, and a sequence can be made shorter by leaving steps out.
 */
export interface Step {
  readonly kind: StepKind;
  readonly seed: number;
}

export interface Sequence {
  readonly seed: number;
  readonly steps: readonly Step[];
}

/** The same for the same seed; a longer one begins like the shorter one. */
export function sequenceOf(seed: number, length: number): Sequence {
  const random = new Random(seed);
  // Without a point there is nothing to do.
  const steps: Step[] = [{ kind: 'incremental', seed: random.seed() }];
  while (steps.length < length) steps.push({ kind: random.weighted(WEIGHTS), seed: random.seed() });
  return { seed, steps };
}
