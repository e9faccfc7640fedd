#!/usr/bin/env node
import { Command } from 'commander';
import { versionLine } from '@sendense/runtime';
import { runProgram, settingsHelp } from '../commands/program.js';
import { addVmwareOptions } from '../commands/vmware-options.js';
import { vddkSettings } from '../config.js';
import { backUpByHand, type ByHandOptions } from './by-hand.js';
import { BACKUP_EXAMPLES } from './examples.js';
import * as parse from './parse-options.js';

const program = new Command('sendense-backup-client')
  .description('Copies the disks of one VMware VM, from one snapshot, to NBD targets.')
  .version(versionLine('sendense-backup-client'), '-V, --version')
  .addHelpText('after', settingsHelp(vddkSettings));

addVmwareOptions(program.command('backup').description('back up one VM by hand, without hub and tunnel'))
  .requiredOption('--vmware-path <path>', 'the VM in the inventory: /DC/vm/pgtest1')
  .requiredOption('--nbd-targets <list>', 'DISKKEY:nbd://HOST:PORT/EXPORT,… one per disk', parse.targets)
  .requiredOption('--job-id <id>', 'names the snapshot: sendense-<id>', parse.jobId)
  .option(
    '--previous-change-ids <list>',
    'DISKKEY=CHANGEID,… copies only what changed since then',
    parse.changeIds,
  )
  .option('--hashes-dir <folder>', 'write the block hashes there, disk-<key>.hashes')
  .option('--quiesce', 'ask the guest to flush its file systems first')
  .option('--enable-change-tracking', 'turn changed block tracking on if it is off and can be')
  .option('--connections <n>', "NBD connections per target: at most its server's own limit", parse.count, 1)
  .option('--parallel-disks <n>', 'disks copied at the same time', parse.count, 4)
  .option('--rate-limit <bytes>', 'bytes per second for all disks together; 0 is unlimited', parse.bytes, 0)
  .option('--json', 'every event as a line of JSON on standard output')
  .option('--verbose', 'the log on standard error')
  .addHelpText('after', BACKUP_EXAMPLES)
  .action((options: ByHandOptions) => backUpByHand(options, process.env));

await runProgram(program);
