import { runSequence, type Failure } from './run-sequence.js';
import type { Sequence } from './sequence.js';
import { World } from './world.js';

export interface Shrunk {
  readonly sequence: Sequence;
  readonly failure: Failure;
}

/** Leaves out steps, halves of them first, as long as what is left fails. */
export async function shrink(whole: Sequence, failure: Failure, directory: string): Promise<Shrunk> {
  let best: Shrunk = { sequence: { ...whole, steps: whole.steps.slice(0, failure.step + 1) }, failure };
  for (
    let size = Math.ceil(best.sequence.steps.length / 2);
    size >= 1;
    size = size === 1 ? 0 : Math.ceil(size / 2)
  )
    for (let from = 0; from < best.sequence.steps.length;) {
      const { steps } = best.sequence;
      const sequence = { ...whole, steps: [...steps.slice(0, from), ...steps.slice(from + size)] };
      const found = sequence.steps.length < steps.length ? await replay(sequence, directory) : undefined;
      if (found) best = { sequence, failure: found };
      else from += size;
    }
  return best;
}

/** In a world of its own: what failed before has left its traces. */
async function replay(sequence: Sequence, directory: string): Promise<Failure | undefined> {
  await using world = await World.create(directory);
  return await runSequence(world, sequence);
}
