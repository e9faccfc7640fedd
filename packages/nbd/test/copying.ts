// What the tests of the copy engine share: disks as buffers, copies with small pieces.
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Extent } from '@sendense/core';
import { silentLogger as log } from '@sendense/runtime';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { BufferPool, copyDisk, type CopyOptions, type CopyResult, type NbdClient } from '../src/index.js';
import { nbdkit, qemuImg, qemuNbd, type RunningServer } from './servers.js';

export const KIB = 1024;
export const MIB = 1024 * KIB;

/** A buffer with data and zeros in turn, of sizes that fit no block. */
export function patchyDisk(sizeBytes: number): Buffer {
  const disk = Buffer.alloc(sizeBytes);
  for (let at = 0, turn = 0; at < sizeBytes; turn++) {
    const length = 1 + ((turn * 7919 * 31) % (300 * KIB));
    if (turn % 3 !== 0) randomBytes(Math.min(length, sizeBytes - at)).copy(disk, at);
    at += length;
  }
  return disk;
}

/** Places for images, and servers for them. */
export class Bench implements AsyncDisposable {
  readonly #folder = temporaryDirectory('nbd-copy');
  readonly #servers: RunningServer[] = [];
  readonly #clients: NbdClient[] = [];
  #files = 0;

  path(name: string): string {
    return join(this.#folder.path, `${this.#files++}-${name}`);
  }

  /** A raw image with this content. */
  raw(content: Buffer): string {
    const path = this.path('disk.raw');
    writeFileSync(path, content);
    return path;
  }

  /** A read-only source, as nbdkit serves it. */
  async source(image: string, ...filtersAndArgs: string[]): Promise<NbdClient> {
    const filters = filtersAndArgs.filter((arg) => arg.startsWith('--'));
    const args = filtersAndArgs.filter((arg) => !arg.startsWith('--'));
    const server = this.use(await nbdkit('-r', ...filters, 'file', image, ...args));
    return this.connect(server, true);
  }

  /** A QCOW2 image, on top of another if that is given. */
  async qcow2(sizeBytes: number, backing?: string): Promise<string> {
    const path = this.path('disk.qcow2');
    const beneath = backing === undefined ? [] : ['-b', backing, '-F', 'qcow2'];
    await qemuImg('create', '-q', '-f', 'qcow2', ...beneath, path, String(sizeBytes));
    return path;
  }

  async targets(image: string, connections = 3): Promise<{ server: RunningServer; targets: NbdClient[] }> {
    const server = this.use(await qemuNbd(image));
    return { server, targets: await this.connections(server, connections) };
  }

  async connections(server: RunningServer, count: number): Promise<NbdClient[]> {
    return Promise.all(Array.from({ length: count }, async () => this.connect(server)));
  }

  async connect(server: RunningServer, blockStatus = false): Promise<NbdClient> {
    const client = await server.connect({ blockStatus });
    this.#clients.push(client);
    return client;
  }

  use<T extends RunningServer>(server: T): T {
    this.#servers.push(server);
    return server;
  }

  /** Ends servers, so that their images are complete and can be looked at. */
  async stop(): Promise<void> {
    await Promise.all(this.#clients.splice(0).map(async (client) => client[Symbol.asyncDispose]()));
    await Promise.all(this.#servers.splice(0).map(async (server) => server[Symbol.asyncDispose]()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.#folder[Symbol.dispose]();
  }
}

type Defaults = 'buffers' | 'signal' | 'log' | 'targetHasBacking';

/** copyDisk with defaults for what a test does not care about. */
export async function copy(
  options: Omit<CopyOptions, Defaults> & Partial<Pick<CopyOptions, Defaults>>,
): Promise<CopyResult> {
  return copyDisk({
    buffers: new BufferPool({ bufferBytes: 256 * KIB, count: 12 }),
    signal: new AbortController().signal,
    log,
    targetHasBacking: false,
    ...options,
  });
}

export function whole(sizeBytes: number): Extent[] {
  return [{ offset: 0, length: sizeBytes }];
}

/** Whether an image reads the same as a raw image; the longer one may only hold zeros behind the end of the other. */
export async function sameContent(rawImage: string, qcow2Image: string): Promise<string> {
  return qemuImg('compare', '-f', 'raw', '-F', 'qcow2', rawImage, qcow2Image);
}
