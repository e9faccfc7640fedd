// What the tests of this package share. The probe asks nbdinfo, because packages of one layer do not import each other.
import { execFile } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import type { ExportAddress, ExportProbe } from '../src/index.js';

export const run = promisify(execFile);

export function uriOf(address: ExportAddress, exportName: string): string {
  const name = encodeURIComponent(exportName);
  return address.kind === 'tcp'
    ? `nbd://${address.host}:${address.port}/${name}`
    : `nbd+unix:///${name}?socket=${address.path}`;
}

interface NbdinfoExport {
  readonly 'export-name': string;
  readonly 'export-size': number;
  readonly is_read_only: boolean;
  readonly can_multi_conn: boolean;
}

export async function nbdinfo(address: ExportAddress, exportName: string, signal?: AbortSignal) {
  const { stdout } = await run('nbdinfo', ['--json', uriOf(address, exportName)], { signal });
  const [found] = (JSON.parse(stdout) as { exports: NbdinfoExport[] }).exports;
  return found!;
}

export const probe: ExportProbe = async (address, exportName, signal) => {
  const found = await nbdinfo(address, exportName, signal);
  return { sizeBytes: found['export-size'], readOnly: found.is_read_only };
};

/** A port that nobody holds now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  return port;
}

/** The environment and command lines of the processes that carry this owner, as anybody of this user can read them. */
export function ownerOf(name: string): string {
  return `test-qemu-${process.pid}-${name}`;
}
