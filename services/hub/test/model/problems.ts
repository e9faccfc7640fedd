import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { RestorePointRecord } from '@sendense/catalog';
import { hashBlock, HASH_BLOCK_BYTES, HASH_BYTES, mergedHashes } from '@sendense/nbd';
import { runCommand } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { parseManifest, type Manifest } from '../../src/runs/manifest.js';
import { NOTHING_LEFT } from '../stage/spine.js';
import type { ModelDisk, ModelPoint } from './model.js';
import type { Subject } from './subject.js';

/**
 * What of a VM's restore points is not as the model has it: nothing, or it is a bug. Content is read with qemu-img through
 * the whole chain; what was proven once is read again when one of the files that it is read from has changed.
 */
export class Prover {
  /** By image: the files of its chain as they were when they were proven. */
  readonly #proven = new Map<string, string>();

  constructor(private readonly subject: Subject) {}

  async problems(): Promise<string[]> {
    const { subject } = this;
    const { model, world, contextId, repositoryId } = subject;
    const problems = await leftovers(subject);
    const records = await world.hub.spine.catalog.restorePoints.ofContext(contextId, repositoryId);
    const [known, expected] = [
      records.map(({ id }) => id).toSorted(),
      model.points.map(({ id }) => id).toSorted(),
    ];
    if (known.join() !== expected.join())
      return [...problems, `the catalogue has the points ${known.join()}, the model ${expected.join()}`];
    const files = new Set<string>();
    for (const point of model.points) {
      const record = records.find(({ id }) => id === point.id)!;
      problems.push(...disagreements(record, point, this.#manifest(record)));
      for (const file of [
        record.manifestPath,
        ...record.disks.flatMap((disk) => [disk.imagePath, disk.hashesPath!]),
      ])
        files.add(file);
      if (problems.length === 0) problems.push(...(await this.#content(record, point, records)));
    }
    for (const file of this.#files()) if (!files.delete(file)) problems.push(`stray: ${file}`);
    for (const file of files) problems.push(`missing: ${file}`);
    return problems;
  }

  /** Reads all of it again. */
  async problemsAnew(): Promise<string[]> {
    this.#proven.clear();
    return this.problems();
  }

  #manifest({ manifestPath }: RestorePointRecord): Manifest {
    const path = this.#at(manifestPath);
    return parseManifest(readFileSync(path, 'utf8'), path);
  }

  #at(path: string): string {
    return join(this.subject.world.repositoryPath, path);
  }

  #files(): string[] {
    const { repositoryPath } = this.subject.world;
    return readdirSync(repositoryPath, { recursive: true, withFileTypes: true })
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name).slice(repositoryPath.length + 1))
      .filter((path) => path.includes('/'));
  }

  async #content(
    record: RestorePointRecord,
    point: ModelPoint,
    records: readonly RestorePointRecord[],
  ): Promise<string[]> {
    const problems: string[] = [];
    for (const disk of point.disks) {
      const chain = this.subject.model
        .chain(point.id, disk.key)
        .map(({ id }) =>
          records.find((one) => one.id === id)!.disks.find(({ diskKey }) => diskKey === disk.key)!,
        );
      const [images, hashes] = [
        chain.map(({ imagePath }) => this.#at(imagePath)),
        chain.map((one) => this.#at(one.hashesPath!)),
      ];
      const state = [...images, ...hashes].map(stateOf).join();
      if (this.#proven.get(images[0]!) === state) continue;
      this.subject.world.counts.add('images compared');
      const found = [
        ...backingProblems(images),
        ...(await this.#imageProblems(images[0]!, disk)),
        ...(await hashProblems(hashes, disk)),
      ];
      problems.push(...found.map((problem) => `disk ${disk.key} of ${record.id}: ${problem}`));
      this.#proven.set(images[0]!, state);
    }
    return problems;
  }

  async #imageProblems(image: string, { content }: ModelDisk): Promise<string[]> {
    const raw = join(this.subject.world.folder, 'read.raw');
    try {
      await runCommand('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', image, raw], {
        code: 'process_failed',
        what: `reading ${image}`,
      });
      const shown = readFileSync(raw);
      if (shown.equals(content)) return [];
      const at = shown.findIndex((byte, index) => byte !== content[index]);
      return [`it shows ${shown.length} bytes and has ${content.length}; the first that differs is at ${at}`];
    } catch (error) {
      return [String(error)];
    } finally {
      rmSync(raw, { force: true });
    }
  }
}

/** What may lie around nowhere, once the runs have tidied up. */
async function leftovers({ world }: Subject): Promise<string[]> {
  const { spine, tasks } = world.hub;
  let left = '';
  try {
    await eventually('nothing is left', async () => {
      left = JSON.stringify({ ...(await spine.leftovers(world.node)), tasks: tasks.queue() });
      return left === JSON.stringify({ ...NOTHING_LEFT, tasks: [] });
    });
    return [];
  } catch {
    return [`left behind: ${left}`];
  }
}

function disagreements(record: RestorePointRecord, point: ModelPoint, manifest: Manifest): string[] {
  const problems: string[] = [];
  const compare = (what: string, found: unknown, expected: unknown) => {
    const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
    if (one !== other) problems.push(`${what} of ${point.id} is ${one}, and should be ${other}`);
  };
  compare('the state', record.state, 'sealed');
  compare('the doubt', record.suspect, point.suspect);
  compare('the hold', record.heldAt !== undefined, point.held);
  const expected = point.disks
    .map(({ key, parent, sizeBytes }) => ({
      key,
      type: parent === undefined ? 'full' : 'incremental',
      parent,
      sizeBytes,
    }))
    .toSorted((a, b) => a.key - b.key);
  compare(
    'the type',
    record.type,
    expected.some(({ type }) => type === 'incremental') ? 'incremental' : 'full',
  );
  const catalogued = record.disks
    .map((disk) => ({
      key: disk.diskKey,
      type: disk.backupType,
      parent: disk.parentPointId,
      sizeBytes: disk.capacityBytes,
    }))
    .toSorted((a, b) => a.key - b.key);
  compare('the disks in the catalogue', catalogued, expected);
  const written = manifest.disks
    .map((disk) => ({
      ...{ key: disk.disk_key, type: disk.backup_type },
      ...{ parent: disk.parent?.backup_id, sizeBytes: disk.capacity_bytes },
    }))
    .toSorted((a, b) => a.key - b.key);
  compare('the disks in the manifest', written, expected);
  return problems;
}

/** The repository can be moved: an image names the one below by its name alone. */
function backingProblems(images: readonly string[]): string[] {
  return images.flatMap((image, index) => {
    const named = backingName(image);
    const below = images[index + 1];
    const expected = below === undefined ? undefined : basename(below);
    return named === expected
      ? []
      : [`${basename(image)} stands on ${named ?? 'nothing'}, not on ${expected ?? 'nothing'}`];
  });
}

/** From the header of a QCOW2 image: at byte 8 where the name is, at 16 how long. */
function backingName(image: string): string | undefined {
  const header = readFileSync(image);
  const offset = Number(header.readBigUInt64BE(8));
  return offset === 0 ? undefined : header.toString('utf8', offset, offset + header.readUInt32BE(16));
}

async function hashProblems(paths: readonly string[], { content }: ModelDisk): Promise<string[]> {
  const problems: string[] = [];
  const block = (index: number) => content.subarray(index * HASH_BLOCK_BYTES, (index + 1) * HASH_BLOCK_BYTES);
  const isZero = (index: number) => block(index).every((byte) => byte === 0);
  const proven = new Set<number>();
  for await (const run of mergedHashes(paths))
    for (let index = run.firstBlock; index < run.firstBlock + run.count; index++) {
      proven.add(index);
      const at = (index - run.firstBlock) * HASH_BYTES;
      const right =
        run.kind === 'zero'
          ? isZero(index)
          : hashBlock(block(index)).equals(run.hashes.subarray(at, at + HASH_BYTES));
      if (!right) problems.push(`its hash of block ${index} is wrong`);
    }
  for (let index = 0; index * HASH_BLOCK_BYTES < content.length; index++)
    if (!proven.has(index) && !isZero(index)) problems.push(`it has no hash of block ${index}`);
  return problems;
}

function stateOf(path: string): string {
  const { ino, size, mtimeNs } = statSync(path, { bigint: true });
  return `${ino} ${size} ${mtimeNs}`;
}
