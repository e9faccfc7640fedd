import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { toSendenseError } from '@sendense/core';
import { DEFAULT_DIRECTORY, runDemo } from './demo.js';
import { cleanUpOnSignals, Stage } from '@sendense/stage';

const HELP = `usage: ./dev demo [--keep | --stop] [--dir DIRECTORY]

Starts a simulated vCenter, a hub and a node in a directory of their own (default: .demo), takes a full and an incremental
backup of a VM with a 102 GB and a 5 GB disk, verifies them, previews retention, and proves the result after each. The
last line is one line of JSON with the facts.

  --keep   leave everything running and print commands to try
  --stop   end what an earlier --keep left running`;

try {
  const { values } = parseArgs({
    options: {
      keep: { type: 'boolean', default: false },
      stop: { type: 'boolean', default: false },
      dir: { type: 'string', default: DEFAULT_DIRECTORY },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const directory = resolve(values.dir);
  if (values.help) console.log(HELP);
  else if (values.stop)
    console.log(`stopped: ${(await Stage.stop(directory)).join(', ') || 'nothing was running'}`);
  else {
    cleanUpOnSignals(async () => void (await Stage.stop(directory)));
    process.exitCode = (await runDemo(directory, values.keep)) ? 0 : 1;
  }
} catch (error) {
  console.error(`demo: ${toSendenseError(error).message}`);
  process.exitCode = 1;
}
