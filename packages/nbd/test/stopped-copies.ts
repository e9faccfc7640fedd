// Run by copy-failures.test.ts in a process of its own: copies that end in every way, one after another.
import { errorCode } from '@sendense/core';
import { BlockHashWriter, BufferPool, type NbdClient } from '../src/index.js';
import { Bench, copy, KIB, MIB, patchyDisk, whole } from './copying.js';
import { nbdkit } from './servers.js';

const SIZE = 4 * MIB;

async function outcome(
  sourceArgs: string[],
  interfere: (parts: { source: NbdClient; targets: NbdClient[]; pid: number; stop: AbortController }) => void,
): Promise<string> {
  await using bench = new Bench();
  const server = bench.use(
    await nbdkit(
      '-r',
      '--filter=delay',
      '--filter=error',
      'file',
      bench.raw(patchyDisk(SIZE)),
      ...sourceArgs,
    ),
  );
  const source = await bench.connect(server);
  const { targets } = await bench.targets(await bench.qcow2(SIZE), 4);
  await using hashes = await BlockHashWriter.create(bench.path('x.hashes'), { sizeBytes: SIZE });
  const stop = new AbortController();
  const buffers = new BufferPool({ bufferBytes: 64 * KIB, count: 8 });
  let interfered = false;
  const onProgress = (done: number) => {
    if (done < MIB || interfered) return;
    interfered = true;
    interfere({ source, targets, pid: server.process.pid, stop });
  };
  const options = { source, targets, extents: whole(SIZE), sizeBytes: SIZE, buffers, hashes };
  try {
    await copy({ ...options, onProgress, signal: stop.signal });
    return 'done';
  } catch (error) {
    return errorCode(error);
  }
}

const outcomes = [
  await outcome(['delay-read=5ms'], ({ stop }) => stop.abort()),
  await outcome(['delay-read=5ms'], ({ pid }) => void process.kill(pid, 'SIGKILL')),
  await outcome(['error-pread=EINVAL', 'error-pread-rate=0.1'], () => undefined),
  await outcome(['delay-read=5ms'], ({ stop, targets }) => {
    void targets[0]?.[Symbol.asyncDispose]();
    stop.abort();
  }),
];
// A rejection that nobody handles is noticed when the loop turns.
await new Promise((resolve) => setImmediate(resolve));
console.log(outcomes.join(' '));
