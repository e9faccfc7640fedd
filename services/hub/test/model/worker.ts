import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runSequence, type Failure } from './run-sequence.js';
import { sequenceOf, type Sequence } from './sequence.js';
import { shrink } from './shrink.js';
import { World } from './world.js';

/** What the process is told at its start, as JSON in its first argument. */
export interface WorkerSpec {
  readonly seeds: readonly number[];
  readonly steps: number;
  /** Where its folder is made. */
  readonly directory: string;
  readonly shrink: boolean;
  /** Told of each step, to stderr, and of what the hub logged of one that failed. */
  readonly verbose: boolean;
}

export interface SequenceResult {
  readonly seed: number;
  readonly seconds: number;
  readonly failure?: Failure;
  /** The fewest steps that were found to fail, with what they fail with. */
  readonly shrunk?: { readonly sequence: Sequence; readonly failure: Failure };
}

export type FromWorker = { readonly result: SequenceResult } | { readonly counts: Record<string, number> };

const send = (message: FromWorker) => void process.send?.(message);

async function main({ seeds, steps, shrink: shrinks, verbose, ...spec }: WorkerSpec): Promise<void> {
  // Whatever is made in it, also by a sequence that is stopped in the middle, goes with this process.
  const directory = mkdtempSync(join(spec.directory, 'sdm-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  let world = await World.create(directory);
  const renew = async () => {
    send({ counts: world.counts.toJSON() });
    await world[Symbol.asyncDispose]();
    world = await World.create(directory);
  };
  // Whoever started it is gone, or wants it to end: nothing of it may stay.
  let stopping = false;
  const stop = () => {
    if (stopping) return;
    stopping = true;
    void world[Symbol.asyncDispose]().finally(() => process.exit(1));
  };
  process.once('disconnect', stop);
  // Not once: a second signal, of a terminal and of its shell for one, would end it without its clean-up.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  for (const seed of seeds) {
    const begunMs = performance.now();
    const sequence = sequenceOf(seed, steps);
    const onStep = (index: number, kind: string) => console.error(`${seed} ${index}: ${kind}`);
    const failure = await runSequence(world, sequence, verbose ? onStep : undefined);
    const seconds = (performance.now() - begunMs) / 1000;
    if (failure) {
      if (verbose) console.error(world.logged.join(''));
      // What is left of it would be found again in the next.
      await renew();
      const smaller = shrinks ? await shrink(sequence, failure, directory) : undefined;
      send({ result: { seed, seconds, failure, ...(smaller ? { shrunk: smaller } : {}) } });
    } else send({ result: { seed, seconds } });
  }
  send({ counts: world.counts.toJSON() });
  await world[Symbol.asyncDispose]();
  process.off('disconnect', stop);
  process.disconnect();
}

await main(JSON.parse(process.argv[2] ?? '') as WorkerSpec);
