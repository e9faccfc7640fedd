// Real NBD servers for tests: each on a unix socket of its own, up when it is returned, gone when it is disposed.
import { execFile } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ChildProcess, silentLogger as log, type Logger } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { NbdClient, probeExport, type NbdAddress } from '../src/index.js';

const run = promisify(execFile);

export interface RunningServer extends AsyncDisposable {
  readonly address: NbdAddress;
  readonly exportName: string;
  readonly process: ChildProcess;
  connect(options?: { blockStatus?: boolean; log?: Logger }): Promise<NbdClient>;
}

async function start(
  name: string,
  command: string,
  args: string[],
  listening: { address: NbdAddress; exportName: string; folder: Disposable },
): Promise<RunningServer> {
  const { address, exportName, folder } = listening;
  const process = await ChildProcess.spawn(command, args, { name, owner: `nbd-test-${name}`, log });
  await eventually(`${name} answers`, async () => {
    if (!process.running) throw process.failure('process_failed', `${name} ended`);
    return probeExport(address, exportName, { log });
  });
  return {
    address,
    exportName,
    process,
    connect: async (options) => NbdClient.connect({ address, exportName, log, ...options }),
    async [Symbol.asyncDispose]() {
      await process.terminate();
      folder[Symbol.dispose]();
    },
  };
}

function listenOnSocket(exportName: string) {
  const folder = temporaryDirectory('nbd');
  return { folder, exportName, address: { kind: 'unix' as const, path: join(folder.path, 'nbd.sock') } };
}

/** `nbdkit('memory', 'size=1M')`; options of nbdkit itself come first. */
export async function nbdkit(...args: string[]): Promise<RunningServer> {
  const listening = listenOnSocket('');
  return start('nbdkit', 'nbdkit', ['-f', '-U', listening.address.path, ...args], listening);
}

/** A writable export named `disk`, as the hub serves it. */
export async function qemuNbd(path: string, format: 'qcow2' | 'raw' = 'qcow2'): Promise<RunningServer> {
  const listening = listenOnSocket('disk');
  return start(
    'qemu-nbd',
    'qemu-nbd',
    [...QEMU_ARGS, '-k', listening.address.path, '-f', format, path],
    listening,
  );
}

export async function qemuNbdOnTcp(path: string): Promise<RunningServer> {
  const port = await freePort();
  const listening = {
    folder: temporaryDirectory('nbd'),
    exportName: 'disk',
    address: { kind: 'tcp' as const, host: '127.0.0.1', port },
  };
  return start(
    'qemu-nbd',
    'qemu-nbd',
    [...QEMU_ARGS, '-b', '127.0.0.1', '-p', String(port), path],
    listening,
  );
}

const QEMU_ARGS = ['-t', '-x', 'disk', '--shared=8', '--discard=unmap', '--detect-zeroes=unmap'];

async function freePort(): Promise<number> {
  const server = createServer();
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', resolve);
  await promise;
  const address = server.address();
  server.close();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

export async function qemuImg(...args: string[]): Promise<string> {
  return (await run('qemu-img', args)).stdout;
}

export async function nbdinfo(...args: string[]): Promise<string> {
  return (await run('nbdinfo', args)).stdout;
}
