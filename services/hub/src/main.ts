#!/usr/bin/env node
import { runProgram } from './program.js';

const output = {
  print: (line: string) => void process.stdout.write(`${line}\n`),
  note: (line: string) => void process.stderr.write(`${line}\n`),
};
process.exitCode = await runProgram(process.argv.slice(2), process.env, output);
