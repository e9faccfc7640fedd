import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { delay } from '@sendense/runtime';
import { apiFor, EXIT, type CommandContext } from './command-context.js';
import { LiveView } from './live-view.js';
import { runProgram } from './program.js';

/** Asks without echo: readline writes what is typed into a stream that shows nothing. */
async function askSecret(prompt: string): Promise<string | undefined> {
  if (!process.stdin.isTTY) return undefined;
  process.stderr.write(prompt);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: silent, terminal: true });
  const answer = await new Promise<string>((resolve) => lines.question('', resolve));
  lines.close();
  process.stderr.write('\n');
  return answer;
}

const view = new LiveView(process.stdout, process.stderr);
const context: CommandContext = {
  env: process.env,
  tty: process.stdout.isTTY,
  api: apiFor(process.env),
  print: (text) => view.print(text),
  note: (text) => view.note(text),
  draw: (text) => view.draw(text),
  askSecret,
  pause: delay,
  exitCode: 0,
};
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader of a pipe is gone (`sendense backup list | head`): nothing more to say.
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`sendense: the answer cannot be written: ${error.message}\n`);
  process.exit(EXIT.failed);
});
process.exitCode = await runProgram(context, process.argv.slice(2));
