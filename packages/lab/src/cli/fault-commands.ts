import { SendenseError } from '@sendense/core';
import { Option, type Command } from 'commander';
import type { ActiveFault, ChangedAreasLie, Journal, LabFault } from '../types.js';
import { labCommand } from './commands.js';
import { table } from './output.js';
import { bytes, wholeNumber } from './values.js';

const LIES: readonly ChangedAreasLie[] = [
  'omit_areas',
  'no_areas',
  'wrong_start_offset',
  'short_length',
  'zero_length',
  'beyond_end',
  'empty_pages',
  'unordered',
];

export function addFaultCommands(program: Command): void {
  const fault = program.command('fault').description('make the lab misbehave');
  addSet(fault);
  const clear = labCommand(
    fault,
    'clear [which]',
    'take one back (by id), those of an operation, or all',
    'fault clear vddk.read --dir /tmp/lab',
  );
  clear.answers('fault.clear', ([which]) => {
    if (which === undefined) return {};
    return { which: /^\d+$/.test(which) ? Number(which) : which };
  });
  labCommand(
    fault,
    'list',
    'those that are set, and how often they struck',
    'fault list --dir /tmp/lab',
  ).answers('fault.list', () => ({}), showFaults);
}

function addSet(fault: Command): void {
  const set = labCommand<SetOptions>(
    fault,
    'set <operation>',
    'a method of the vSphere API, *, quiesce, consolidate, vddk.init, vddk.connect, vddk.open, vddk.read or vddk.allocated',
    'fault set CreateSnapshot_Task --fault GenericVmConfigFault --times 1 --dir /tmp/lab\n' +
      '  sendense-lab fault set RemoveSnapshot_Task --delay-ms 5000 --dir /tmp/lab\n' +
      '  sendense-lab fault set QueryChangedDiskAreas --lie omit_areas --dir /tmp/lab\n' +
      '  sendense-lab fault set QueryChangedDiskAreas --fault FileFault --vm pgtest1 --disk 2000 --times 1 --dir /tmp/lab\n' +
      '  sendense-lab fault set Login --drop before --times 2 --dir /tmp/lab\n' +
      '  sendense-lab fault set consolidate --times 1 --dir /tmp/lab\n' +
      '  sendense-lab fault set vddk.read --fault 14011 --at 1G --length 64K --times 3 --dir /tmp/lab',
  );
  set.command
    .option('--fault <name>', "VMware's name of the fault; for vddk.* a VIX error number")
    .option('--message <text>', 'what it says')
    .addOption(new Option('--stage <stage>', 'where a method with a task fails').choices(['call', 'task']))
    .option('--delay-ms <ms>', 'take so long first', wholeNumber)
    .addOption(new Option('--drop <when>', 'drop the connection').choices(['before', 'after']))
    .option('--http-status <status>', 'answer with this status and no SOAP', wholeNumber)
    .addOption(new Option('--lie <lie>', 'how QueryChangedDiskAreas lies').choices(LIES))
    .option('--crash', 'vddk.*: end the process')
    .option('--times <n>', 'how often (default: for ever)', wholeNumber)
    .option('--after <n>', 'let so many pass first', wholeNumber)
    .option('--vm <vm>', 'only for this VM')
    .option('--disk <key>', 'only for this disk', wholeNumber)
    .option('--at <offset>', 'vddk.read: only for reads that touch this place', bytes)
    .option('--length <bytes>', 'how large that place is (default: one sector)', bytes);
  set.answers(
    'fault.set',
    ([operation = ''], options) => ({ fault: labFault(operation, options) }),
    ({ id }: { id: number }) => `${id}\n`,
  );
}

interface SetOptions extends Pick<
  LabFault,
  | 'fault'
  | 'message'
  | 'stage'
  | 'delayMs'
  | 'drop'
  | 'httpStatus'
  | 'lie'
  | 'crash'
  | 'times'
  | 'after'
  | 'vm'
> {
  readonly disk?: number;
  readonly at?: number;
  readonly length?: number;
}

function labFault(operation: string, options: SetOptions): LabFault {
  const {
    dir: _dir,
    json: _json,
    disk,
    at,
    length,
    ...given
  } = options as SetOptions & { dir: string; json?: boolean };
  if (at === undefined && length !== undefined)
    throw new SendenseError('invalid_argument', '--length needs --at');
  return {
    operation,
    ...given,
    ...(disk === undefined ? {} : { diskKey: disk }),
    ...(at === undefined ? {} : { extent: { offset: at, length: length ?? 512 } }),
  };
}

function showFaults(faults: readonly ActiveFault[]): string {
  return table([
    ['ID', 'OPERATION', 'STRUCK', 'WHAT'],
    ...faults.map(({ id, operation, struck, ...what }) => [
      String(id),
      operation,
      String(struck),
      JSON.stringify(what),
    ]),
  ]);
}

export function addOtherCommands(program: Command): void {
  const session = program.command('session').description('logins');
  labCommand(session, 'expire', 'end every session', 'session expire --dir /tmp/lab').answers(
    'session.expire',
    () => ({}),
  );
  const vcenter = program.command('vcenter').description('the API as a whole');
  labCommand(vcenter, 'stop', 'refuse every connection', 'vcenter stop --dir /tmp/lab').answers(
    'vcenter.stop',
    () => ({}),
  );
  labCommand(vcenter, 'start', 'answer again', 'vcenter start --dir /tmp/lab').answers(
    'vcenter.start',
    () => ({}),
  );
  labCommand(program, 'info', 'how to reach the running lab', 'info --dir /tmp/lab --json').answers(
    'info',
    () => ({}),
    (info: object) => `${JSON.stringify(info, undefined, 2)}\n`,
  );
  labCommand(program, 'journal', 'what the lab has been asked so far', 'journal --dir /tmp/lab').answers(
    'journal',
    () => ({}),
    ({ operations, snapshots }: Journal) =>
      [
        table([
          ['OPERATION', 'CALLS'],
          ...Object.entries(operations).map(([name, calls]) => [name, String(calls)]),
        ]),
        table([
          ['VM', 'SNAPSHOTS TAKEN', 'REMOVED'],
          ...Object.entries(snapshots).map(([vm, { created, removed }]) => [
            vm,
            String(created),
            String(removed),
          ]),
        ]),
      ].join('\n'),
  );
}
