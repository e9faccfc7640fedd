import { constants, mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { FaultTable } from './fault-table.js';
import { replaceFile } from '../replace-file.js';

export interface PublishedDisk {
  readonly key: number;
  readonly sizeBytes: number;
  readonly uuid: string;
  readonly fileName: string;
  /** The newest first. */
  readonly layers: readonly { readonly sizeBytes: number; readonly data: string; readonly map: string }[];
}

export interface PublishedServer {
  readonly hosts: readonly string[];
  readonly port: number;
  readonly username: string;
  readonly password: string;
  readonly thumbprints: { readonly sha1: string; readonly sha256: string };
}

/** What the stand-in libvixDiskLib reads: the files that native/directory.c describes. */
export class VddkDirectory {
  private constructor(
    readonly path: string,
    readonly faults: FaultTable,
  ) {}

  static async open(path: string): Promise<VddkDirectory> {
    await mkdir(join(path, 'vms'), { recursive: true, mode: 0o700 });
    return new VddkDirectory(path, FaultTable.create(join(path, 'faults')));
  }

  async publishServer(server: PublishedServer): Promise<void> {
    const lines = [
      ...server.hosts.map((host) => `host ${host}`),
      `port ${server.port}`,
      `user ${server.username}`,
      `password ${server.password}`,
      `sha1 ${server.thumbprints.sha1}`,
      `sha256 ${server.thumbprints.sha256}`,
    ];
    await replaceFile(join(this.path, 'server'), `${lines.join('\n')}\n`, 0o600);
  }

  async publishVm(vm: string): Promise<void> {
    await mkdir(join(this.path, 'vms', vm), { recursive: true });
  }

  /** Makes a snapshot readable, or tells of the layers that its disks consist of by now. */
  async publishSnapshot(vm: string, snapshot: string, disks: readonly PublishedDisk[]): Promise<void> {
    const lines = disks.flatMap((disk) => [
      ['disk', disk.key, disk.sizeBytes, disk.uuid, disk.fileName],
      ...disk.layers.map((layer) => ['layer', layer.sizeBytes, layer.data, layer.map]),
    ]);
    const file = join(this.path, 'vms', vm, snapshot);
    // Readers of the snapshot have it in their memory: it must never be shorter for a moment.
    await using alive = await open(`${file}.alive`, constants.O_WRONLY | constants.O_CREAT);
    await alive.write('\u0001', 0);
    await replaceFile(`${file}.disks`, lines.map((line) => `${line.join('\t')}\n`).join(''));
  }

  /** After this, no read of the snapshot succeeds any more, also of those who have it open. */
  async withdrawSnapshot(vm: string, snapshot: string): Promise<void> {
    const file = join(this.path, 'vms', vm, snapshot);
    await using alive = await open(`${file}.alive`, 'r+');
    await alive.write('\0', 0);
    await rm(`${file}.disks`, { force: true });
    await rm(`${file}.alive`, { force: true });
  }

  async withdrawVm(vm: string): Promise<void> {
    await rm(join(this.path, 'vms', vm), { recursive: true, force: true });
  }

  close(): void {
    this.faults.close();
  }
}
