#!/usr/bin/env node
import { Command } from 'commander';
import { versionLine } from '@sendense/runtime';
import { enrolByCommand, parseHub, type EnrolCommandOptions } from './commands/enrol.js';
import { preflightByCommand } from './commands/preflight.js';
import { runNode } from './commands/run.js';
import { runProgram, settingsHelp } from './commands/program.js';
import { sweepByCommand, type SweepCommandOptions } from './commands/sweep.js';
import { addVmwareOptions } from './commands/vmware-options.js';
import { nodeSettings } from './config.js';

const program = new Command('sendense-node')
  .description('The node of Sendense: takes VMware snapshots and streams their disks to its hub.')
  .version(versionLine('sendense-node'), '-V, --version')
  .addHelpText('after', settingsHelp(nodeSettings));

program
  .command('run')
  .description('run the node until SIGTERM')
  .action(() => runNode(process.env));

program
  .command('enrol')
  .description('make a key and have the hub accept it, once')
  .requiredOption('--hub <host:port>', "the hub's tunnel address; port 443 when none is named", parseHub)
  .option('--token <token>', 'from "sendense node add NAME": one use, short-lived')
  .option('--token-file <file>', 'the same from a file; - is standard input')
  .option('--force', 'replace an enrolment that is already there')
  .addHelpText('after', '\nExample:\n  sendense-node enrol --hub hub.example.com --token-file token.txt')
  .action((options: EnrolCommandOptions) => enrolByCommand(options, process.env));

program
  .command('preflight')
  .description('check everything that a backup needs, and say how to fix what is missing')
  .option('--json', 'machine-readable')
  .action((options: { json?: boolean }) => preflightByCommand(options, process.env));

addVmwareOptions(
  program
    .command('sweep')
    .description('remove snapshots and processes that dead backups of this node left behind')
    .option('--vm <moref>', 'only this VM')
    .option('--json', 'machine-readable'),
).action((options: SweepCommandOptions) => sweepByCommand(options, process.env));

await runProgram(program);
// Ends also when something that could not be released in time still holds the event loop.
process.exit();
