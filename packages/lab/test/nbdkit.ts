import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { ChildProcess, runCommand, silentLogger } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { existsSync } from 'node:fs';
import type { Lab } from '../src/index.js';

export const VDDK_PLUGIN =
  process.env['SENDENSE_NBDKIT_VDDK_PLUGIN'] ??
  fileURLToPath(new URL('../../../../.tools/vddk-plugin/nbdkit-vddk-plugin.so', import.meta.url));
export const VDDK_LIBRARY = fileURLToPath(
  new URL('../../native/build/vddk/lib64/libvixDiskLib.so.8', import.meta.url),
);

export interface ServedDisk {
  readonly vm: string;
  readonly snapshot: string;
  readonly fileName: string;
}

/** The real nbdkit with the real vddk plugin on one disk of the lab: a folder for its socket, and what to override. */
export async function serveDisk(
  lab: Lab,
  folder: string,
  disk: ServedDisk,
  override: Record<string, string> = {},
): Promise<ChildProcess & { readonly uri: string }> {
  const socket = `${folder}/nbd-${Math.random().toString(36).slice(2, 8)}.sock`;
  const passwordFile = `${folder}/password`;
  await writeFile(passwordFile, lab.password, { mode: 0o600 });
  const parameters = {
    libdir: lab.vddkLibdir,
    server: lab.host,
    user: lab.username,
    password: `+${passwordFile}`,
    thumbprint: lab.thumbprints.sha1,
    vm: `moref=${disk.vm}`,
    snapshot: disk.snapshot,
    file: disk.fileName,
    ...override,
  };
  const args = [
    '-r',
    '-f',
    '-U',
    socket,
    VDDK_PLUGIN,
    ...Object.entries(parameters).map(([key, value]) => `${key}=${value}`),
  ];
  const process = await ChildProcess.spawn('nbdkit', args, {
    name: 'nbdkit of the test',
    owner: 'lab-test',
    log: silentLogger,
    env: lab.vddkEnvironment,
  });
  await eventually('nbdkit listens or has ended', () => existsSync(socket) || !process.running);
  return Object.assign(process, { uri: `nbd+unix:///?socket=${socket}` });
}

/** Copies what nbdkit serves into a raw file. */
export async function copyOut(uri: string, path: string, ...options: string[]): Promise<void> {
  await runCommand('nbdcopy', [...options, uri, path], {
    code: 'process_failed',
    what: 'copying out of nbdkit',
  });
}

/** @throws when the images differ */
export async function compareImages(a: string, b: string): Promise<void> {
  await runCommand('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', a, b], {
    code: 'process_failed',
    what: `comparing ${a} with ${b}`,
  });
}

/** What nbdkit says of the disk's blocks. */
export async function diskMap(uri: string): Promise<{ offset: number; length: number; hole: boolean }[]> {
  const { stdout } = await runCommand('nbdinfo', ['--map', '--json', uri], {
    code: 'process_failed',
    what: 'asking nbdkit for the allocated blocks',
  });
  const entries = JSON.parse(stdout) as { offset: number; length: number; type: number }[];
  return entries.map(({ offset, length, type }) => ({ offset, length, hole: (type & 1) === 1 }));
}

/** The same as qemu sees it: nbdinfo of Debian 12 asks for unaligned places on disks beyond 4 GiB. */
export async function qemuMap(uri: string): Promise<{ offset: number; length: number; hole: boolean }[]> {
  const { stdout } = await runCommand('qemu-img', ['map', '--output=json', '-f', 'raw', uri], {
    code: 'process_failed',
    what: 'asking nbdkit for the allocated blocks',
  });
  const entries = JSON.parse(stdout) as { start: number; length: number; data: boolean }[];
  return entries.map(({ start, length, data }) => ({ offset: start, length, hole: !data }));
}
