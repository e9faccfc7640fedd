#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { printable, toSendenseError } from '@sendense/core';
import { versionLine } from '@sendense/runtime';
import { addDiskCommands, addGuestCommands, addSnapshotCommands } from './cli/disk-commands.js';
import { addFaultCommands, addOtherCommands } from './cli/fault-commands.js';
import { addServe } from './cli/serve.js';
import { addVmCommands } from './cli/vm-commands.js';

const program = new Command('sendense-lab')
  .description('A simulated vCenter with VMs whose disks are real files, for tests and demonstrations.')
  .version(versionLine('sendense-lab'), '-V, --version')
  .showHelpAfterError('(sendense-lab --help tells more)')
  .exitOverride();
addServe(program);
addVmCommands(program);
addGuestCommands(program);
addDiskCommands(program);
addSnapshotCommands(program);
addFaultCommands(program);
addOtherCommands(program);

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    process.stderr.write(`sendense-lab: ${printable(toSendenseError(error).message)}\n`);
    process.exitCode = 1;
  }
}
