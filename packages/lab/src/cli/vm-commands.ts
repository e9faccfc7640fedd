import { SendenseError } from '@sendense/core';
import { Option, type Command } from 'commander';
import type { DiskSpec, LabSnapshot, LabVm, SnapshotHistory, VmSpec } from '../types.js';
import { labCommand } from './commands.js';
import { size, table } from './output.js';
import { diskSpec, each, wholeNumber } from './values.js';

export function addVmCommands(program: Command): void {
  const vm = program.command('vm').description('virtual machines');
  addCreate(vm);
  labCommand(vm, 'list', 'all VMs', 'vm list --dir /tmp/lab').answers('vm.list', () => ({}), showVms);
  labCommand(
    vm,
    'show <vm>',
    'one VM with its disks and snapshots',
    'vm show pgtest1 --dir /tmp/lab',
  ).answers('vm.show', ([name = '']) => ({ vm: name }), showVm);
  labCommand(vm, 'remove <vm>', 'delete a VM with its disks', 'vm remove pgtest1 --dir /tmp/lab').answers(
    'vm.remove',
    ([name = '']) => ({ vm: name }),
  );
  labCommand(
    vm,
    'consolidate <vm>',
    'merge what removed snapshots left',
    'vm consolidate pgtest1 --dir /tmp/lab',
  ).answers('vm.consolidate', ([name = '']) => ({ vm: name }));
  addSwitches(vm);
}

function addCreate(vm: Command): void {
  const create = labCommand<CreateOptions>(
    vm,
    'create <name>',
    'make a VM',
    'vm create pgtest1 --disk 102G --disk 5G,controller=scsi1 --disk 1G,mode=independent_persistent --dir /tmp/lab',
  );
  create.command
    .option(
      '--disk <spec>',
      'SIZE[,key=2016][,controller=scsi1][,unit=3][,thick][,mode=MODE][,backing=BACKING][,multi-writer][,bus-shared]; may be repeated',
      each(diskSpec),
    )
    .option('--host <name>', 'the ESXi host that it runs on', 'esxi-1.lab')
    .option('--datastore <name>', 'where its files are', 'labds')
    .option('--folder <path>', "below the datacenter's vm folder", '')
    .option('--off', 'powered off')
    .option('--template', 'a template')
    .option('--no-tools', 'without VMware Tools')
    .option('--no-tracking-support', 'cannot have changed block tracking')
    .option('--tracking', 'changed block tracking runs already');
  create.answers('vm.create', ([name = ''], options) => ({ spec: vmSpec(name, options) }), showVm);
}

interface CreateOptions {
  readonly disk?: readonly DiskSpec[];
  readonly host: string;
  readonly datastore: string;
  readonly folder: string;
  readonly off?: true;
  readonly template?: true;
  readonly tools: boolean;
  readonly trackingSupport: boolean;
  readonly tracking?: true;
}

function vmSpec(name: string, options: CreateOptions): VmSpec {
  return {
    name,
    disks: options.disk ?? [],
    host: options.host,
    datastore: options.datastore,
    folder: options.folder,
    powerState: options.off ? 'poweredOff' : 'poweredOn',
    template: options.template ?? false,
    tools: options.tools ? 'running' : 'notInstalled',
    changeTrackingSupported: options.trackingSupport,
    changeTrackingEnabled: options.tracking ?? false,
  };
}

function addSwitches(vm: Command): void {
  const power = labCommand(vm, 'power <vm> <state>', 'on or off', 'vm power pgtest1 off --dir /tmp/lab');
  power.answers('vm.power', ([name = '', state]) => ({
    vm: name,
    state: oneOf(state, { on: 'poweredOn', off: 'poweredOff', suspended: 'suspended' }),
  }));
  const tools = labCommand(
    vm,
    'tools <vm> <state>',
    'running, stopped or none',
    'vm tools pgtest1 stopped --dir /tmp/lab',
  );
  tools.answers('vm.tools', ([name = '', state]) => ({
    vm: name,
    state: oneOf(state, { running: 'running', stopped: 'notRunning', none: 'notInstalled' }),
  }));
  const tracking = labCommand<{ readonly disk?: number }>(
    vm,
    'tracking <vm> <change>',
    'changed block tracking: on or off; reset (earlier changeIds have another uuid) or forget (they are stale)',
    'vm tracking pgtest1 reset --dir /tmp/lab\n' +
      '  sendense-lab vm tracking pgtest1 forget --disk 2001 --dir /tmp/lab',
  );
  tracking.command.option('-k, --disk <key>', 'with reset and forget: only this disk', wholeNumber);
  tracking.answers('vm.tracking', ([name = '', change], { disk }) => ({
    vm: name,
    change: oneOf(change, { on: 'on', off: 'off', reset: 'reset', forget: 'forget' }),
    ...(disk === undefined ? {} : { disk }),
  }));
}

function oneOf<T extends string>(given: string | undefined, choices: Record<string, T>): T {
  const chosen = given !== undefined && Object.hasOwn(choices, given) ? choices[given] : undefined;
  if (chosen === undefined) {
    throw new SendenseError(
      'invalid_argument',
      `expected ${Object.keys(choices).join(', ')}, not '${given}'`,
    );
  }
  return chosen;
}

function showVms(vms: readonly LabVm[]): string {
  return table([
    ['NAME', 'MOREF', 'POWER', 'HOST', 'DATASTORE', 'DISKS', 'TRACKING'],
    ...vms.map((vm) => [
      vm.name,
      vm.moref,
      vm.powerState,
      vm.host,
      vm.datastore,
      vm.disks.map((disk) => `${disk.key}:${size(disk.sizeBytes)}`).join(', '),
      vm.changeTrackingEnabled ? 'on' : 'off',
    ]),
  ]);
}

export function showDisks(disks: LabVm['disks']): string {
  return table([
    ['KEY', 'SIZE', 'CONTROLLER', 'UNIT', 'MODE', 'FILE', 'CHANGE ID'],
    ...disks.map((disk) => [
      String(disk.key),
      size(disk.sizeBytes),
      String(disk.controllerKey),
      String(disk.unitNumber),
      [disk.mode, disk.backing === 'file' ? '' : disk.backing, disk.multiWriter ? 'multi-writer' : '']
        .filter(Boolean)
        .join(' '),
      disk.fileName,
      disk.changeId ?? '-',
    ]),
  ]);
}

function showVm(
  vm: LabVm & { readonly snapshots?: readonly LabSnapshot[]; readonly history?: SnapshotHistory },
): string {
  const parts = [showVms([vm]), showDisks(vm.disks)];
  if (vm.snapshots && vm.snapshots.length > 0) parts.push(showSnapshots({ snapshots: vm.snapshots }));
  if (vm.history) parts.push(`snapshots taken: ${vm.history.created}, removed: ${vm.history.removed}\n`);
  if (vm.consolidationNeeded) parts.push('consolidation needed\n');
  return parts.join('\n');
}

export function showSnapshots({ snapshots }: { readonly snapshots: readonly LabSnapshot[] }): string {
  return table([
    ['MOREF', 'NAME', 'TAKEN', 'QUIESCED', 'DESCRIPTION'],
    ...snapshots.map((one) => [
      one.moref,
      one.name,
      String(one.createdAt),
      one.quiesced ? 'yes' : 'no',
      one.description,
    ]),
  ]);
}

/** Shared by the commands that look at a snapshot's disks. */
export function snapshotOption(): Option {
  return new Option('-s, --snapshot <snapshot>', 'moref or name of a snapshot; without it, as of now');
}
