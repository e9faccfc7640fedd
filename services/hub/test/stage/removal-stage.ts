import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCatalog, type Catalog, type RestorePointRecord } from '@sendense/catalog';
import { hashBlock, HASH_BLOCK_BYTES, HASH_BYTES, mergedHashes, verifyBlockHashesFile } from '@sendense/nbd';
import { QemuImg } from '@sendense/qemu';
import { silentLogger as log } from '@sendense/runtime';
import { removePoint, type RemovalWork, type RemovedPoint } from '../../src/chains/remove-point.js';
import { Repositories } from '../../src/repositories/repositories.js';
import { parseManifest, type Manifest } from '../../src/runs/manifest.js';
import { ChainStage, type ChainVm } from './chain-stage.js';

const MIB = 2 ** 20;
const KIB = 1024;

export interface RememberedPoint {
  readonly id: string;
  /** By disk number. */
  readonly content: readonly Buffer[];
}

/**
 * Chains that are built once and put back as they were as often as a test likes: each time the files and the catalogue are
 * what a crash would find.
 */
export class RemovalStage implements Disposable {
  private constructor(
    readonly folder: string,
    private readonly template: string,
    readonly contextId: string,
    /** Oldest first. */
    readonly points: readonly RememberedPoint[],
  ) {}

  static async build(
    vmSizes: readonly number[],
    seal: (vm: ChainVm) => Promise<void>,
  ): Promise<RemovalStage> {
    const template = mkdtempSync(join(tmpdir(), 'sdr-'));
    await using stage = await ChainStage.create();
    const vm = stage.vm('pgtest1', vmSizes);
    await seal(vm);
    for (const name of ['data', 'repository'])
      cpSync(join(stage.folder, name), join(template, name), { recursive: true });
    const points = vm.manifests.map(({ backup_id: id }) => ({
      id,
      content: vm.disks.map(({ history }) => history.get(id)!),
    }));
    return new RemovalStage(stage.folder, template, vm.contextId, points);
  }

  get repositoryPath(): string {
    return join(this.folder, 'repository');
  }

  /** Everything as it was when it was built. */
  async restore(): Promise<OpenedStage> {
    mkdirSync(this.folder, { recursive: true });
    rmSync(join(this.folder, 'data'), { recursive: true, force: true });
    mkdirSync(this.repositoryPath, { recursive: true });
    for (const name of readdirSync(this.repositoryPath))
      rmSync(join(this.repositoryPath, name), { recursive: true, force: true });
    cpSync(this.template, this.folder, { recursive: true });
    return this.open();
  }

  open(): Promise<OpenedStage> {
    return OpenedStage.open(this.folder, this.contextId, this.points);
  }

  [Symbol.dispose](): void {
    for (const path of [this.folder, this.template]) rmSync(path, { recursive: true, force: true });
  }
}

/** A hub's view of the chains, for one of its lives. */
export class OpenedStage implements AsyncDisposable {
  private constructor(
    readonly catalog: Catalog,
    readonly repositories: Repositories,
    readonly repositoryPath: string,
    readonly contextId: string,
    readonly points: readonly RememberedPoint[],
  ) {}

  static async open(
    folder: string,
    contextId: string,
    points: readonly RememberedPoint[],
  ): Promise<OpenedStage> {
    const directory = join(folder, 'data');
    const catalog = await openCatalog({ directory, log });
    const repositories = new Repositories({ catalog, hubId: 'hub', ownDirectories: [directory], log });
    return new OpenedStage(catalog, repositories, join(folder, 'repository'), contextId, points);
  }

  ports(command = 'qemu-img', owner = 'removal-test') {
    const { catalog, repositories } = this;
    return { catalog, repositories, images: new QemuImg({ command, owner, log }) };
  }

  remove(pointId: string, more: Partial<RemovalWork> = {}): Promise<RemovedPoint> {
    return removePoint(pointId, this.ports(), {
      signal: new AbortController().signal,
      log,
      progress: () => undefined,
      commit: () => undefined,
      ...more,
    });
  }

  /** Ends at a step as a crash does: nothing that would come after it happens, no clean-up either. */
  async crashAt(pointId: string, step: (name: string, index: number) => boolean): Promise<string[]> {
    const steps: string[] = [];
    const crashed = Promise.withResolvers<void>();
    const onStep = async (name: string) => {
      steps.push(name);
      if (!step(name, steps.length - 1)) return;
      crashed.resolve();
      await new Promise<never>(() => undefined);
    };
    await Promise.race([crashed.promise, this.remove(pointId, { onStep })]);
    return steps;
  }

  async find(pointId: string): Promise<RestorePointRecord | undefined> {
    return this.catalog.restorePoints.find(pointId);
  }

  manifest(pointId: string): Manifest {
    const path = join(this.repositoryPath, this.contextId, 'manifests', `${pointId}.json`);
    return parseManifest(readFileSync(path, 'utf8'), path);
  }

  /** Every file of the VM, relative to the repository. */
  files(): string[] {
    const top = join(this.repositoryPath, this.contextId);
    if (!existsSync(top)) return [];
    return readdirSync(top, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name).slice(this.repositoryPath.length + 1))
      .toSorted();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.catalog[Symbol.asyncDispose]();
  }
}

/** What is wrong with the points that should be there: nothing, when a removal went well. */
export async function problemsOf(
  stage: OpenedStage,
  remaining: readonly RememberedPoint[],
): Promise<string[]> {
  const problems: string[] = [];
  const manifests = new Map(remaining.map(({ id }) => [id, stage.manifest(id)]));
  const expected = [...manifests.values()].flatMap(({ disks, backup_id }) => [
    `${stage.contextId}/manifests/${backup_id}.json`,
    ...disks.flatMap(({ image, hashes }) => [image, hashes]),
  ]);
  for (const file of stage.files()) if (!expected.includes(file)) problems.push(`stray file ${file}`);
  const known = await stage.catalog.restorePoints.ofContext(
    stage.contextId,
    (await stage.catalog.repositories.list())[0]!.id,
  );
  const ids = known.map(({ id }) => id).toSorted();
  if (
    ids.join() !==
    remaining
      .map(({ id }) => id)
      .toSorted()
      .join()
  )
    problems.push(`the catalogue has ${ids.join()}`);
  for (const point of remaining) {
    const record = known.find(({ id }) => id === point.id);
    if (record) problems.push(...disagreements(record, manifests.get(point.id)!));
    problems.push(...(await contentProblems(stage, point, manifests)));
  }
  return problems;
}

function disagreements(record: RestorePointRecord, manifest: Manifest): string[] {
  const shown = (parts: object[]) => JSON.stringify(parts);
  const catalogue = record.disks.map(
    ({ diskNumber, backupType, parentPointId, imagePath, hashesPath, storedBytes }) => ({
      ...{ diskNumber, backupType, parent: parentPointId ?? null, imagePath, hashesPath, storedBytes },
    }),
  );
  const files = manifest.disks.map(({ disk_number, backup_type, parent, image, hashes, stored_bytes }) => ({
    ...{ diskNumber: disk_number, backupType: backup_type, parent: parent?.backup_id ?? null },
    ...{ imagePath: image, hashesPath: hashes, storedBytes: stored_bytes },
  }));
  const problems: string[] = [];
  if (record.state !== 'sealed') problems.push(`${record.id} is ${record.state}`);
  const type = manifest.disks.some(({ backup_type }) => backup_type === 'incremental')
    ? 'incremental'
    : 'full';
  if (record.type !== type) problems.push(`${record.id} is ${record.type} in the catalogue, and ${type}`);
  if (shown(catalogue) !== shown(files))
    problems.push(`the catalogue says ${shown(catalogue)}, the manifest ${shown(files)}`);
  return problems;
}

async function contentProblems(
  stage: OpenedStage,
  { id, content }: RememberedPoint,
  manifests: ReadonlyMap<string, Manifest>,
): Promise<string[]> {
  const problems: string[] = [];
  const images = new QemuImg();
  for (const disk of manifests.get(id)!.disks) {
    const bytes = content[disk.disk_number]!;
    const raw = join(stage.repositoryPath, '..', 'expected.raw');
    writeFileSync(raw, bytes);
    const image = join(stage.repositoryPath, disk.image);
    const compared = await images.compare(image, raw, { formatA: 'qcow2', formatB: 'raw' });
    rmSync(raw);
    if (!compared.identical) problems.push(`disk ${disk.disk_number} of ${id}: ${compared.detail}`);
    await images.check(image);
    const chain = chainOf(id, disk.disk_number, manifests);
    const backing = (await images.backingChain(image)).map(({ path }) => path);
    const named = chain.map((part) => join(stage.repositoryPath, part.image));
    if (backing.join() !== named.join())
      problems.push(`${id} stands on ${backing.join()}, not ${named.join()}`);
    const hashes = chain.map((part) => join(stage.repositoryPath, part.hashes));
    for (const path of hashes) await verifyBlockHashesFile(path);
    problems.push(...(await hashProblems(hashes, bytes)).map((problem) => `${problem} of ${id}`));
  }
  return problems;
}

function chainOf(id: string, number: number, manifests: ReadonlyMap<string, Manifest>): Manifest['disks'] {
  const disk = manifests.get(id)?.disks.find(({ disk_number }) => disk_number === number);
  return disk ? [disk, ...(disk.parent ? chainOf(disk.parent.backup_id, number, manifests) : [])] : [];
}

async function hashProblems(paths: readonly string[], content: Buffer): Promise<string[]> {
  const problems: string[] = [];
  const block = (index: number) => content.subarray(index * HASH_BLOCK_BYTES, (index + 1) * HASH_BLOCK_BYTES);
  const isZero = (index: number) => block(index).every((byte) => byte === 0);
  let next = 0;
  const unread = (until: number) => {
    for (; next < until; next++) if (!isZero(next)) problems.push(`no hash for block ${next}`);
  };
  for await (const run of mergedHashes(paths)) {
    unread(run.firstBlock);
    for (; next < run.firstBlock + run.count; next++) {
      const at = (next - run.firstBlock) * HASH_BYTES;
      const right =
        run.kind === 'zero'
          ? isZero(next)
          : hashBlock(block(next)).equals(run.hashes.subarray(at, at + HASH_BYTES));
      if (!right) problems.push(`wrong hash for block ${next}`);
    }
  }
  unread(Math.ceil(content.length / HASH_BLOCK_BYTES));
  return problems;
}

/** A change to zeros, which an increment has to hold. */
export function zero(disk: ChainVm['disks'][number] | undefined, offset: number, length: number): void {
  disk!.fill(offset, length);
  disk!.content.fill(0, offset, offset + length);
}

/** Four points of two disks, made so that removals commit into some images and pull others. */
export function buildChain(): Promise<RemovalStage> {
  // The second disk ends in the middle of a block.
  return RemovalStage.build([4 * MIB, 2 * MIB + 512], async (vm) => {
    const [big, small] = vm.disks;
    big!.fill(0, MIB);
    big!.fill(3 * MIB, 256 * KIB);
    small!.fill(2 * MIB, 512);
    await vm.seal('full');
    big!.fill(512 * KIB, 64 * KIB, 'changed');
    zero(big, 3 * MIB, 128 * KIB);
    small!.fill(MIB, 512 * KIB);
    await vm.seal('incremental');
    big!.fill(2 * MIB, 128 * KIB, 'new');
    big!.fill(3 * MIB, 64 * KIB, 'again');
    zero(small, MIB, 128 * KIB);
    await vm.seal('incremental');
    big!.fill(MIB, 256 * KIB, 'more');
    small!.fill(2 * MIB, 512, 'end');
    small!.fill(0, 192 * KIB);
    await vm.seal('incremental');
  });
}
