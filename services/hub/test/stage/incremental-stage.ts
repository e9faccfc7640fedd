import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BackupRecord } from '@sendense/catalog';
import { QemuImg } from '@sendense/qemu';
import { parseManifest, type Manifest } from '../../src/runs/manifest.js';
import { FakeNode } from './fake-node.js';
import type { FakeVm } from './fake-vm.js';
import { Spine, type SpineOptions } from './spine.js';

const MIB = 2 ** 20;

/** A protected VM with two disks, `2000` and `2001`, behind a fake node. */
export class IncrementalStage implements AsyncDisposable {
  readonly images = new QemuImg({});

  private constructor(
    readonly node: FakeNode,
    readonly spine: Spine,
    readonly vm: FakeVm,
    readonly contextId: string,
  ) {}

  /** Every block is audited unless told otherwise, so that no test depends on luck. */
  static async start(options: SpineOptions = {}): Promise<IncrementalStage> {
    const node = await FakeNode.start();
    const spine = await Spine.start(node, { cbtAuditBlocks: 4096, ...options });
    const vm = node.addVm('pgtest1', [
      { key: 2000, sizeBytes: 3 * MIB + 512 },
      { key: 2001, sizeBytes: 2 * MIB },
    ]);
    return new IncrementalStage(node, spine, vm, await spine.protect(vm));
  }

  full(): Promise<BackupRecord> {
    return this.spine.backUp(this.contextId);
  }

  incremental(): Promise<BackupRecord> {
    return this.spine.backUp(this.contextId, { type: 'incremental' });
  }

  /** Per disk of a point, whether its image is the disk as it is now. */
  async areDisks({ id }: BackupRecord): Promise<boolean[]> {
    const { path } = await this.spine.repository();
    const same: boolean[] = [];
    for (const { imagePath, diskKey } of (await this.spine.catalog.restorePoints.get(id)).disks) {
      const raw = join(this.spine.folder, 'source.raw');
      await writeFile(raw, this.vm.disk(diskKey).content);
      const formats = { formatA: 'qcow2', formatB: 'raw' } as const;
      same.push((await this.images.compare(join(path, imagePath), raw, formats)).identical);
    }
    return same;
  }

  async manifestOf(id: string): Promise<Manifest> {
    const { path } = await this.spine.repository();
    const { manifestPath } = await this.spine.catalog.restorePoints.get(id);
    return parseManifest(await readFile(join(path, manifestPath), 'utf8'), manifestPath);
  }

  /** Why the next incremental would be one, or not, per disk. */
  async plannedReasons(): Promise<string[]> {
    const request = await this.spine.request(this.contextId, { type: 'incremental' });
    return (await this.spine.runs.plan(request)).disks.map(({ reason }) => reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.spine[Symbol.asyncDispose]();
    await this.node[Symbol.asyncDispose]();
  }
}
