import { createCipheriv, createHash, randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { openCatalog, type Catalog, type RestorePointRecord } from '@sendense/catalog';
import { diskLayout, manifestPath, timestampName } from '@sendense/core';
import { BlockHashWriter, HASH_BLOCK_BYTES, hashBlock } from '@sendense/nbd';
import { QemuImg } from '@sendense/qemu';
import { OwnedStack, runCommand, silentLogger as log } from '@sendense/runtime';
import { importedPoint } from '../../src/chains/rescan-import.js';
import { Repositories } from '../../src/repositories/repositories.js';
import type { UsableRepository } from '../../src/runs/index.js';
import {
  formatManifest,
  MANIFEST_SCHEMA,
  type Manifest,
  type ManifestDisk,
} from '../../src/runs/manifest.js';

const BLOCK = HASH_BLOCK_BYTES;

/** A real catalogue and a real repository, with chains that are made here and now instead of by backups. */
export class ChainStage implements AsyncDisposable {
  readonly images = new QemuImg();
  #minutes = 0;

  private constructor(
    readonly folder: string,
    readonly catalog: Catalog,
    readonly repositories: Repositories,
    readonly repository: UsableRepository,
    private readonly owned: OwnedStack,
  ) {}

  static async create(): Promise<ChainStage> {
    await using owned = new OwnedStack(log);
    const folder = mkdtempSync(join(tmpdir(), 'sdc-'));
    owned.defer('folder', () => rmSync(folder, { recursive: true, force: true }));
    for (const name of ['data', 'run', 'repository']) mkdirSync(join(folder, name), { mode: 0o700 });
    const directory = join(folder, 'data');
    const catalog = owned.use('catalogue', await openCatalog({ directory, log }));
    const repositories = new Repositories({ catalog, hubId: 'hub', ownDirectories: [directory], log });
    const path = join(folder, 'repository');
    const { record } = await repositories.add({ name: 'main', type: 'local', path });
    return new ChainStage(folder, catalog, repositories, await repositories.usable(record.id), owned.move());
  }

  get runtimeDirectory(): string {
    return join(this.folder, 'run');
  }

  /** Absolute. */
  at(path: string): string {
    return join(this.repository.path, path);
  }

  /** A raw file with what a disk was at a point. @returns its path */
  raw(vm: ChainVm, disk: number, pointId: string): string {
    const content = vm.disks[disk]?.history.get(pointId);
    if (!content) throw new Error(`${pointId} has no disk ${disk}`);
    const path = join(this.folder, 'source.raw');
    writeFileSync(path, content);
    return path;
  }

  vm(name: string, sizesBytes: readonly number[]): ChainVm {
    return new ChainVm(this, name, sizesBytes);
  }

  /** Each point a minute after the last. */
  nextTime(): Date {
    return new Date(Date.UTC(2026, 10, 1) + 60_000 * this.#minutes++);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.owned[Symbol.asyncDispose]();
  }
}

class ChainDisk {
  readonly backingUuid = randomUUID();
  readonly content: Buffer;
  /** The content at each point, by its id. */
  readonly history = new Map<string, Buffer>();
  changeNumber = 1;
  readonly #changed = new Set<number>();

  constructor(
    readonly key: number,
    readonly sizeBytes: number,
  ) {
    this.content = Buffer.alloc(sizeBytes);
  }

  /** Incompressible bytes, the same for the same seed. */
  fill(offset: number, length: number, seed = 'seed'): void {
    const key = createHash('sha256').update(`${seed} ${offset}`).digest();
    const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
    cipher.update(Buffer.alloc(length)).copy(this.content, offset);
    this.#tell(offset, length);
  }

  zero(offset: number, length: number): void {
    this.content.fill(0, offset, offset + length);
    this.#tell(offset, length);
  }

  /** The blocks that a full or an increment reads now; ascending. */
  take(type: 'full' | 'incremental'): number[] {
    const all = Array.from({ length: Math.ceil(this.sizeBytes / BLOCK) }, (_, index) => index);
    const taken = all.filter((block) => (type === 'full' ? !this.isZero(block) : this.#changed.has(block)));
    this.#changed.clear();
    return taken;
  }

  block(index: number): Buffer {
    return this.content.subarray(index * BLOCK, (index + 1) * BLOCK);
  }

  isZero(index: number): boolean {
    return this.block(index).every((byte) => byte === 0);
  }

  #tell(offset: number, length: number): void {
    this.changeNumber++;
    for (let block = Math.floor(offset / BLOCK); block * BLOCK < offset + length; block++)
      this.#changed.add(block);
  }
}

/** A VM with restore points whose content is known. */
export class ChainVm {
  readonly contextId: string;
  readonly disks: readonly ChainDisk[];
  readonly manifests: Manifest[] = [];

  constructor(
    private readonly stage: ChainStage,
    readonly name: string,
    sizesBytes: readonly number[],
  ) {
    this.contextId = `ctx-${name}-1`;
    this.disks = sizesBytes.map((sizeBytes, index) => new ChainDisk(2000 + index, sizeBytes));
  }

  /** Makes a restore point of the disks as they are, and takes it into the catalogue. */
  async seal(type: 'full' | 'incremental'): Promise<RestorePointRecord> {
    const at = this.stage.nextTime();
    const id = `backup-${this.name}-${timestampName(at)}`;
    const disks: ManifestDisk[] = [];
    for (const [number, disk] of this.disks.entries())
      disks.push(await this.#sealDisk(id, number, disk, type));
    const manifest = this.#manifest(id, at, type, disks);
    this.manifests.push(manifest);
    const path = this.stage.at(manifestPath(this.contextId, id));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, formatManifest(manifest));
    await this.stage.catalog.restorePoints.importPoint(importedPoint(manifest, this.stage.repository.id));
    return this.stage.catalog.restorePoints.get(id);
  }

  async #sealDisk(
    backupId: string,
    number: number,
    disk: ChainDisk,
    type: 'full' | 'incremental',
  ): Promise<ManifestDisk> {
    const { contextId, name: vmName } = this;
    const { imagePath, hashesPath } = diskLayout({ contextId, vmName, backupId, number });
    const image = this.stage.at(imagePath);
    mkdirSync(dirname(image), { recursive: true });
    const before = type === 'incremental' ? this.manifests.at(-1) : undefined;
    const parent = before?.disks[number]?.image;
    await this.stage.images.create(image, {
      sizeBytes: disk.sizeBytes,
      ...(parent === undefined ? {} : { backing: { path: this.stage.at(parent), format: 'qcow2' } }),
    });
    const blocks = disk.take(type);
    await this.#write(image, disk, blocks);
    await this.#hash(this.stage.at(hashesPath), disk, blocks);
    disk.history.set(backupId, Buffer.from(disk.content));
    const { actualSizeBytes } = await this.stage.images.info(image);
    return {
      disk_id: `${contextId}-disk${number}`,
      ...{ disk_number: number, disk_key: disk.key, label: `Hard disk ${number + 1}` },
      ...{ backing_uuid: disk.backingUuid, backing_file: '[ds] x.vmdk', capacity_bytes: disk.sizeBytes },
      ...{ backup_type: type, reason: type === 'full' ? 'requested' : 'changed_blocks' },
      ...{ image: imagePath, image_format: 'qcow2', stored_bytes: actualSizeBytes, hashes: hashesPath },
      parent: before && parent !== undefined ? { backup_id: before.backup_id, image: parent } : null,
      ...{ change_id: `52 aa/${disk.changeNumber}`, extent_source: 'changed_areas' },
      ...{ bytes_read: blocks.length * BLOCK, bytes_written: blocks.length * BLOCK, bytes_zeroed: 0 },
    };
  }

  /** One qemu-io for all: a process for each block would take longer than the tests themselves. */
  async #write(image: string, disk: ChainDisk, blocks: readonly number[]): Promise<void> {
    const writes = blocks.map((block) => {
      const { length } = disk.block(block);
      if (disk.isZero(block)) return `write -z ${block * BLOCK} ${length}`;
      const piece = join(this.stage.folder, `piece-${block}`);
      writeFileSync(piece, disk.block(block));
      return `write -s ${piece} ${block * BLOCK} ${length}`;
    });
    if (writes.length === 0) return;
    await runCommand('qemu-io', ['-f', 'qcow2', ...writes.flatMap((write) => ['-c', write]), image], {
      code: 'process_failed',
      what: 'writing blocks',
    });
  }

  async #hash(path: string, disk: ChainDisk, blocks: readonly number[]): Promise<void> {
    await using writer = await BlockHashWriter.create(path, { sizeBytes: disk.sizeBytes });
    for (const firstBlock of blocks)
      writer.append(
        disk.isZero(firstBlock)
          ? { kind: 'zero', firstBlock, count: 1 }
          : { kind: 'data', firstBlock, count: 1, hashes: hashBlock(disk.block(firstBlock)) },
      );
    await writer.finish();
  }

  #manifest(id: string, at: Date, type: 'full' | 'incremental', disks: ManifestDisk[]): Manifest {
    const [created_at, taken_at, sealed_at] = [at, at, at].map((time) => time.toISOString()) as [
      string,
      string,
      string,
    ];
    return {
      schema: MANIFEST_SCHEMA,
      engine: 'test 0 (abc)',
      backup_id: id,
      context_id: this.contextId,
      repository_id: this.stage.repository.id,
      node_name: 'berlin',
      vm: { name: this.name, instance_uuid: `uuid-of-${this.name}`, moref: 'vm-1', guest_full_name: '' },
      vcenter: 'vcenter.example',
      requested_type: type,
      ...{ created_at, taken_at, sealed_at },
      snapshot: { moref: 'snapshot-1', name: 'sendense' },
      quiesce: { requested: false, done: false, note: '' },
      change_tracking: 'already_enabled',
      foreign_snapshots: 0,
      warnings: [],
      skipped_disks: [],
      disks,
    };
  }
}
