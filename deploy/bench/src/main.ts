import { availableParallelism, cpus, release } from 'node:os';
import { toSendenseError } from '@sendense/core';
import { runCommand } from '@sendense/runtime';
import { cleanUpOnSignals } from '@sendense/stage';
import { runBench } from './bench.js';
import { HELP, parseOptions, type BenchOptions } from './options.js';
import { makeReport } from './report.js';
import { Scratch } from './scratch.js';
import { isMemory } from './space.js';
import { formatReport } from './table.js';

let stopping = false;
cleanUpOnSignals(async (signal) => {
  stopping = true;
  console.error(`bench: ended by ${signal}, cleaning up`);
  await Scratch.removeAll();
});

try {
  const options = parseOptions(process.argv.slice(2));
  if (options) await bench(options);
  else console.log(HELP);
} catch (error) {
  // What fails because everything is being stopped is no news.
  if (!stopping) console.error(`bench: ${toSendenseError(error).message}`);
  process.exitCode = 1;
}

async function bench(options: BenchOptions): Promise<void> {
  const say = (text: string) => console.error(`• ${text}`);
  const startedAt = performance.now();
  const results = await runBench(options, options.json ? () => undefined : say);
  const report = makeReport(results);
  if (!options.json) console.log(`\n${formatReport(report)}\n`);
  console.log(
    JSON.stringify({
      size_mib: options.sizeMib,
      repeat: options.repeat,
      quick: options.quick,
      directory: options.directory,
      in_memory: isMemory(options.directory),
      seconds: Math.round((performance.now() - startedAt) / 1000),
      machine: await machine(),
      ...report,
    }),
  );
}

async function machine(): Promise<Record<string, string | number>> {
  return {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? 'unknown',
    kernel: release(),
    node: process.version,
    qemu_nbd: await firstLine('qemu-nbd', '--version'),
    nbdkit: await firstLine('nbdkit', '--version'),
    nbdcopy: await firstLine('nbdcopy', '--version'),
    // It writes its version to stderr.
    ssh: await firstLine('ssh', '-V'),
  };
}

async function firstLine(command: string, option: string): Promise<string> {
  const { stdout, stderr } = await runCommand(command, [option], {
    code: 'process_failed',
    what: 'its version',
  });
  return (stdout || stderr).split('\n')[0] ?? '';
}
