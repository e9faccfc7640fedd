import { existsSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { SendenseError, toSendenseError } from '@sendense/core';
import { describeFailure, soak, type SoakOptions } from './soak.js';

const HELP = `usage: ./dev soak [--sequences N] [--seed S] [--steps N] [--jobs N] [--dir DIRECTORY] [--no-shrink] [--verbose]

Random sequences of guest writes, backups, cancels, crashes, removals, merges, verifications, damage and changes of
the VM, on the hub's own code with real qemu-nbd and qemu-img, against a model that remembers what every restore point
must show. After each step every point is compared with it byte by byte, and nothing else may lie in the repository.

  --sequences N  how many (default 200)
  --seed S       of the first; each has the next (default: random). A sequence is the same for the same seed, but for
                 the moment at which a cancel or a crash comes
  --steps N      of each sequence (default 8)
  --jobs N       processes at the same time (default: one for each core)
  --dir DIR      where to make the repositories (default: /dev/shm, which is memory)
  --no-shrink    do not look for fewer steps that fail as well
  --verbose      name each step, and show what the hub logged in a sequence that failed

Each failing sequence is printed with its seed. The last line is one line of JSON. Exit code: 0 when all was as it
should be, 1 when a sequence failed, 2 when something else went wrong.

Every crash point of a removal in turn, instead of those that ./dev test chooses (minutes):
  EVERY_CRASH_POINT=1 ./dev test services/hub/dist/test/remove-crash

examples:
  ./dev soak                                    200 new sequences
  ./dev soak --sequences 5000 --steps 40        a night's work
  ./dev soak --sequences 1 --seed 137 --verbose  one sequence again`;

try {
  const options = parseOptions(process.argv.slice(2));
  if (options) await run(options);
  else console.log(HELP);
} catch (error) {
  console.error(`soak: ${toSendenseError(error).message}`);
  process.exitCode = 2;
}

async function run(options: SoakOptions): Promise<void> {
  const { sequences, seed, steps, jobs } = options;
  const begunMs = performance.now();
  console.error(`• ${sequences} sequences of ${steps} steps from seed ${seed} on, in ${jobs} processes`);
  let done = 0;
  const { results, failures, counts } = await soak(options, (result) => {
    done++;
    if (result.failure) console.log(describeFailure(result, steps));
    if (done % 50 === 0) console.error(`• ${done} of ${sequences}`);
  });
  const seconds = Math.round((performance.now() - begunMs) / 1000);
  const failed_seeds = failures.map((result) => result.seed).toSorted((a, b) => a - b);
  console.log(
    JSON.stringify({
      sequences: results.length,
      failed: failures.length,
      failed_seeds,
      seed,
      steps,
      jobs,
      seconds,
      counts,
    }),
  );
  if (failures.length > 0) process.exitCode = 1;
}

/** @returns undefined when only help was asked for. @throws `invalid_argument` */
function parseOptions(args: readonly string[]): SoakOptions | undefined {
  const values = readArguments(args);
  if (values.help) return undefined;
  return {
    sequences: count('--sequences', values.sequences ?? '200', 1, 10_000_000),
    seed: count('--seed', values.seed ?? String(Math.floor(Math.random() * 1e9)), 0, 2 ** 31),
    steps: count('--steps', values.steps ?? '8', 1, 10_000),
    jobs: count('--jobs', values.jobs ?? String(availableParallelism()), 1, 64),
    directory: values.dir ?? (existsSync('/dev/shm') ? '/dev/shm' : tmpdir()),
    shrink: !values['no-shrink'],
    verbose: values.verbose,
  };
}

function readArguments(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        sequences: { type: 'string' },
        seed: { type: 'string' },
        steps: { type: 'string' },
        jobs: { type: 'string' },
        dir: { type: 'string' },
        'no-shrink': { type: 'boolean', default: false },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values;
  } catch (error) {
    throw new SendenseError('invalid_argument', `${(error as Error).message}; see ./dev soak --help`, {
      cause: error,
    });
  }
}

function count(option: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new SendenseError(
    'invalid_argument',
    `${option} takes whole numbers from ${least} to ${most}, not '${text}'`,
  );
}
