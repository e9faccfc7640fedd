import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Counts } from './counts.js';
import type { FromWorker, SequenceResult, WorkerSpec } from './worker.js';

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url));

export interface SoakOptions {
  readonly sequences: number;
  /** Of the first sequence; each has the next. */
  readonly seed: number;
  readonly steps: number;
  /** Processes at the same time. */
  readonly jobs: number;
  readonly directory: string;
  readonly shrink: boolean;
  readonly verbose: boolean;
}

export interface SoakOutcome {
  readonly results: readonly SequenceResult[];
  readonly failures: readonly SequenceResult[];
  readonly counts: Record<string, number>;
}

/** Runs the sequences in processes of their own. @throws when one of these does not come to its end */
export async function soak(
  options: SoakOptions,
  onResult: (result: SequenceResult) => void,
): Promise<SoakOutcome> {
  const { sequences, seed, jobs } = options;
  const results: SequenceResult[] = [];
  const counts = new Counts();
  const seeds = Array.from({ length: sequences }, (_, index) => seed + index);
  const shares = Array.from({ length: Math.min(jobs, sequences) }, (_, job) =>
    seeds.filter((_seed, index) => index % jobs === job),
  );
  await Promise.all(
    shares.map((share) =>
      runWorker({ ...options, seeds: share }, (message) => {
        if ('counts' in message) return counts.addAll(message.counts);
        results.push(message.result);
        onResult(message.result);
      }),
    ),
  );
  return { results, failures: results.filter(({ failure }) => failure), counts: counts.toJSON() };
}

async function runWorker(spec: WorkerSpec, onMessage: (message: FromWorker) => void): Promise<void> {
  const child = fork(WORKER, [JSON.stringify(spec)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  child.on('message', onMessage);
  const end = () => child.kill('SIGTERM');
  process.once('exit', end);
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  process.off('exit', end);
  if (code !== 0) throw new Error(`a process of the soak ended with ${code ?? signal}`);
}

/** In words, with how to have it again. */
export function describeFailure({ seed, failure, shrunk }: SequenceResult, steps: number): string {
  if (!failure) return '';
  const told = shrunk?.failure ?? failure;
  return [
    `seed ${seed} fails at step ${failure.step} (${failure.kind}): ./dev soak --sequences 1 --steps ${steps} --seed ${seed} --verbose`,
    ...(shrunk
      ? [`  also with these steps alone: ${shrunk.sequence.steps.map(({ kind }) => kind).join(', ')}`]
      : []),
    ...told.problems.slice(0, 10).map((problem) => `  ${problem}`),
  ].join('\n');
}
