#!/usr/bin/env node
import { runProgram } from './program.js';

const output = {
  print: (line: string) => void process.stdout.write(`${line}\n`),
  note: (line: string) => void process.stderr.write(`${line}\n`),
};
// Ends also when something that could not be released in time still holds the event loop.
process.exit(await runProgram(process.argv.slice(2), process.env, output));
