import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { SendenseError } from '@sendense/core';

export const HELP = `usage: ./dev bench [--size MIB] [--repeat N] [--rtt MS,MS] [--dir DIRECTORY] [--json] [--quick]

Measures in one run, on this machine: a full backup through the API (nbdkit's VDDK plugin, tunnel, qemu-nbd, QCOW2), nbdcopy
between the same nbdkit and a qemu-nbd of the same kind without any tunnel, and that nbdcopy through OpenSSH's ssh -L
with aes128-gcm. The three take turns; medians are compared. Each path is taken once before the first round, uncounted:
what comes first pays for memory and programs that nobody used before, and may take several times as long.

Then, unless --only leaves it out, what incremental backups cost: the bytes on the wire (all that the node's connections
to the hub carry, counted by a relay between them) when 1 % of a thin disk of 20 times --size changed in scattered blocks
of 64 KiB, time and space when nothing changed, finding out about 50 000 changed areas, and the restore of the newest of
60 increments next to that of a full with the same content.

And how fast the hub answers with 10 000 VMs and 1 000 000 restore points in its catalogue (--only catalogue): every list page
and lookup of the API, on SQLite and, where a MariaDB server is installed, on MariaDB.

And how soon failures are told, and how soon nothing is left of them (--only failures): everything by its default times.

The last line is one line of JSON with every figure.

  --size MIB     data of one disk (default 1024)
  --repeat N     how often each is measured (default 3)
  --rtt MS,MS    also back up through a relay that adds these round-trip times, and compare with 0 ms
  --only NAMES   of the parts: full backups of dense, half_zero, sparse, two_disks, huge data, incremental,
                 catalogue and failures (default: all)
  --dir DIR      where to make the directory for disks, images and programs, which is removed afterwards (default:
                 /dev/shm, which is memory, so that no disk is measured)
  --json         print nothing but the line of JSON
  --quick        a small run that shows that all of it works; its figures mean nothing`;

export const WORKLOAD_NAMES = ['dense', 'half_zero', 'sparse', 'two_disks', 'huge'] as const;
export type WorkloadName = (typeof WORKLOAD_NAMES)[number];

/** The other parts. */
const INCREMENTAL = 'incremental';
const CATALOGUE = 'catalogue';
const FAILURES = 'failures';
const OTHERS = [INCREMENTAL, CATALOGUE, FAILURES];

export interface BenchOptions {
  readonly sizeMib: number;
  readonly repeat: number;
  readonly roundTripsMs: readonly number[];
  /** Whose full backups are measured. */
  readonly workloads: readonly WorkloadName[];
  readonly incremental: boolean;
  readonly catalogue: boolean;
  readonly failures: boolean;
  /** A new one is made in it. */
  readonly directory: string;
  readonly json: boolean;
  readonly quick: boolean;
}

/** @returns undefined when only help was asked for. @throws `invalid_argument` */
export function parseOptions(args: readonly string[]): BenchOptions | undefined {
  const { values } = readArguments(args);
  if (values.help) return undefined;
  const quick = values.quick;
  const only = values.only === undefined ? [...WORKLOAD_NAMES, ...OTHERS] : list(values.only);
  return {
    sizeMib: count('--size', values.size ?? (quick ? '16' : '1024'), 4, 65_536),
    repeat: count('--repeat', values.repeat ?? (quick ? '1' : '3'), 1, 100),
    roundTripsMs: list(values.rtt).map((text) => count('--rtt', text, 1, 1000)),
    workloads: only.filter((name) => !OTHERS.includes(name)).map(workloadName),
    incremental: only.includes(INCREMENTAL),
    catalogue: only.includes(CATALOGUE),
    failures: only.includes(FAILURES),
    directory: resolve(values.dir ?? '/dev/shm'),
    json: values.json,
    quick,
  };
}

function readArguments(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        size: { type: 'string' },
        repeat: { type: 'string' },
        rtt: { type: 'string' },
        only: { type: 'string' },
        dir: { type: 'string' },
        json: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new SendenseError('invalid_argument', `${(error as Error).message}; see ./dev bench --help`, {
      cause: error,
    });
  }
}

function list(text: string | undefined): string[] {
  return (text ?? '').split(',').filter((part) => part !== '');
}

function count(option: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new SendenseError(
    'invalid_argument',
    `${option} takes whole numbers from ${min} to ${max}, not '${text}'`,
  );
}

function workloadName(text: string): WorkloadName {
  const name = WORKLOAD_NAMES.find((known) => known === text);
  if (name) return name;
  throw new SendenseError(
    'invalid_argument',
    `--only takes ${[...WORKLOAD_NAMES, ...OTHERS].join(', ')}, not '${text}'`,
  );
}
