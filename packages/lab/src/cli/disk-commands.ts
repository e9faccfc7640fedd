import { resolve } from 'node:path';
import { SendenseError } from '@sendense/core';
import { Option, type Command } from 'commander';
import type { Commands } from '../control/commands.js';
import type { DiskSpec, LabDisk } from '../types.js';
import { labCommand } from './commands.js';
import { bytes, diskSpec, wholeNumber } from './values.js';
import { showDisks, showSnapshots, snapshotOption } from './vm-commands.js';

interface DiskOptions {
  readonly disk: number;
}

interface WriteOptions extends DiskOptions {
  readonly offset: number;
  readonly length?: number;
  readonly zeros?: true;
  readonly random?: string;
  readonly file?: string;
  readonly sparse: boolean;
}

const diskOption = () =>
  new Option('-k, --disk <key>', 'the device key of the disk').argParser(wholeNumber).makeOptionMandatory();

export function addGuestCommands(program: Command): void {
  const guest = program.command('guest').description('what happens inside a VM');
  const write = labCommand<WriteOptions>(
    guest,
    'write <vm>',
    'write to a disk as the guest does; snapshots that exist do not see it',
    'guest write pgtest1 --disk 2000 --offset 1M --random seed-1 --length 64M --dir /tmp/lab',
  );
  write.command
    .addOption(diskOption())
    .option('-o, --offset <bytes>', 'where on the disk', bytes, 0)
    .option('--length <bytes>', 'how much, with --zeros or --random', bytes)
    .option('--zeros', 'write zeros')
    .option('--random <seed>', 'write incompressible bytes, the same ones for the same seed')
    .option('--file <path>', "write a file's content; its holes are skipped")
    .option('--no-sparse', 'with --file: write holes too, as zeros');
  write.answers('guest.write', ([vm = ''], options) => ({
    vm,
    disk: options.disk,
    write: guestWrite(options),
  }));
}

function guestWrite({
  offset,
  length,
  zeros,
  random,
  file,
  sparse,
}: WriteOptions): Commands['guest.write']['write'] {
  if ([zeros, random, file].filter((given) => given !== undefined).length !== 1) {
    throw new SendenseError('invalid_argument', 'give one of --file, --zeros and --random');
  }
  if (file !== undefined) return { offset, fromFile: resolve(file), sparse };
  if (length === undefined) throw new SendenseError('invalid_argument', '--zeros and --random need --length');
  return random === undefined ? { offset, zeros: length } : { offset, random, length };
}

export function addDiskCommands(program: Command): void {
  const disk = program.command('disk').description('disks and their content');
  const path = labCommand<DiskOptions & { readonly snapshot?: string }>(
    disk,
    'path <vm>',
    'make a raw image of a disk and print its path, for qemu-img compare',
    'disk path pgtest1 --disk 2000 --snapshot sendense-job-1 --dir /tmp/lab',
  );
  path.command.addOption(diskOption()).addOption(snapshotOption());
  path.answers(
    'disk.path',
    ([vm = ''], { disk: key, snapshot }) => ({
      vm,
      disk: key,
      ...(snapshot === undefined ? {} : { snapshot }),
    }),
    (answer: string) => `${answer}\n`,
  );

  const add = labCommand(
    disk,
    'add <vm> <spec>',
    'add a disk',
    'disk add pgtest1 5G,controller=scsi1 --dir /tmp/lab',
  );
  add.answers(
    'disk.add',
    ([vm = '', spec = '']) => ({ vm, spec: diskSpec(spec) satisfies DiskSpec }),
    (added: LabDisk) => showDisks([added]),
  );

  const remove = labCommand<DiskOptions>(
    disk,
    'remove <vm>',
    'take a disk away',
    'disk remove pgtest1 --disk 2001 --dir /tmp/lab',
  );
  remove.command.addOption(diskOption());
  remove.answers('disk.remove', ([vm = ''], { disk: key }) => ({ vm, disk: key }));

  const grow = labCommand<DiskOptions & { readonly size: number }>(
    disk,
    'grow <vm>',
    'make a disk larger; the VM must have no snapshots',
    'disk grow pgtest1 --disk 2001 --size 10G --dir /tmp/lab',
  );
  grow.command
    .addOption(diskOption())
    .addOption(new Option('--size <bytes>', 'the new size').argParser(bytes).makeOptionMandatory());
  grow.answers(
    'disk.grow',
    ([vm = ''], { disk: key, size }) => ({ vm, disk: key, sizeBytes: size }),
    (grown: LabDisk) => showDisks([grown]),
  );

  const replace = labCommand<DiskOptions & { readonly size?: number }>(
    disk,
    'replace <vm>',
    'put another, empty disk in its place: the same key, another backing uuid',
    'disk replace pgtest1 --disk 2001 --size 10G --dir /tmp/lab',
  );
  replace.command
    .addOption(diskOption())
    .option('--size <bytes>', 'its size (default: that of the old one)', bytes);
  replace.answers(
    'disk.replace',
    ([vm = ''], { disk: key, size }) => ({
      vm,
      disk: key,
      ...(size === undefined ? {} : { sizeBytes: size }),
    }),
    (replaced: LabDisk) => showDisks([replaced]),
  );
}

export function addSnapshotCommands(program: Command): void {
  const snapshot = program
    .command('snapshot')
    .description("VMware's snapshots, as somebody else would handle them");
  labCommand(snapshot, 'list <vm>', 'those that exist now', 'snapshot list pgtest1 --dir /tmp/lab').answers(
    'snapshot.list',
    ([vm = '']) => ({ vm }),
    showSnapshots,
  );
  const create = labCommand<{ readonly description: string }>(
    snapshot,
    'create <vm> <name>',
    'take one',
    'snapshot create pgtest1 before-update --dir /tmp/lab',
  );
  create.command.option('--description <text>', 'its description', '');
  create.answers('snapshot.create', ([vm = '', name = ''], { description }) => ({
    vm,
    name,
    description,
  }));
  const remove = 'snapshot remove pgtest1 before-update --dir /tmp/lab';
  labCommand(snapshot, 'remove <vm> <snapshot>', 'remove one and merge its delta', remove).answers(
    'snapshot.remove',
    ([vm = '', name = '']) => ({ vm, snapshot: name }),
  );
  const revert = 'snapshot revert pgtest1 before-update --dir /tmp/lab';
  labCommand(snapshot, 'revert <vm> <snapshot>', 'go back to one, the changeIds as well', revert).answers(
    'snapshot.revert',
    ([vm = '', name = '']) => ({ vm, snapshot: name }),
  );
}
