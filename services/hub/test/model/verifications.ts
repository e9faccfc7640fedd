import { closeSync, openSync, readSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { runCommand } from '@sendense/runtime';
import { rescanTask } from '../../src/chains/rescan-task.js';
import { verifyTask } from '../../src/chains/verify-task.js';
import type { ModelDisk, ModelPoint } from './model.js';
import type { Random } from './random.js';
import { requireEnd } from './removals.js';
import { requireThat } from './require-that.js';
import type { Subject } from './subject.js';

/** The content of every point is right at all times: a verification passes, and one that read all ends a doubt. */
export async function verify(subject: Subject, random: Random, quick: boolean): Promise<void> {
  const point = random.oneOf(subject.model.points);
  if (!point) return;
  requireEnd(await runVerify(subject, point, quick), 'completed');
  if (!quick) point.suspect = false;
}

/** One byte of a point's own data, for as long as a verification takes. */
export async function flipByte(subject: Subject, random: Random): Promise<void> {
  const victim = await randomImage(subject, random);
  if (!victim) return;
  const offset = await ownData(victim.path, random);
  if (offset === undefined) return;
  const flip = () => {
    const file = openSync(victim.path, 'r+');
    const byte = Buffer.alloc(1);
    readSync(file, byte, 0, 1, offset);
    byte[0]! ^= 0xff;
    writeSync(file, byte, 0, 1, offset);
    closeSync(file);
  };
  flip();
  try {
    await findsDamage(subject, victim, victim.point, false);
  } finally {
    flip();
  }
}

/** An image is away, for as long as the verification of some point that needs it takes. */
export async function hideImage(subject: Subject, random: Random): Promise<void> {
  const victim = await randomImage(subject, random);
  if (!victim) return;
  const reader = random.oneOf(subject.model.through(victim.point.id, victim.disk.key));
  const aside = join(subject.world.folder, 'aside');
  renameSync(victim.path, aside);
  try {
    await findsDamage(subject, victim, reader ?? victim.point, random.chance(0.5));
  } finally {
    renameSync(aside, victim.path);
  }
}

export async function rescan(subject: Subject): Promise<void> {
  const { world, model, repositoryId } = subject;
  const task = await world.runTask(rescanTask(repositoryId, 'model'));
  const { counts } = requireEnd(task, 'completed');
  const expected = {
    ...{ points_added: 0, points_known: model.points.length, points_missing: 0 },
    ...{ strangers: 0, damaged: 0, partial: 0, removals_finished: 0 },
  };
  const found = JSON.stringify(counts);
  requireThat(
    found === JSON.stringify(expected),
    `the rescan counts ${found}, and should ${JSON.stringify(expected)}`,
  );
}

interface Victim {
  readonly point: ModelPoint;
  readonly disk: ModelDisk;
  /** Absolute. */
  readonly path: string;
}

async function findsDamage(
  subject: Subject,
  { point, disk }: Victim,
  reader: ModelPoint,
  quick: boolean,
): Promise<void> {
  requireEnd(await runVerify(subject, reader, quick), 'failed', 'verification_failed');
  for (const doubtful of subject.model.through(point.id, disk.key)) doubtful.suspect = true;
  subject.world.counts.add('damage found');
}

async function runVerify({ world }: Subject, { id }: ModelPoint, quick: boolean) {
  const point = await world.hub.spine.catalog.restorePoints.get(id);
  world.counts.add(quick ? 'quick verifications' : 'full verifications');
  return world.runTask(verifyTask(point, { quick, rateLimitBytesPerSecond: 0, requestedBy: 'model' }));
}

async function randomImage({ model, world }: Subject, random: Random): Promise<Victim | undefined> {
  const point = random.oneOf(model.points);
  const disk = point && random.oneOf(point.disks);
  if (!disk) return undefined;
  const record = await world.hub.spine.catalog.restorePoints.get(point.id);
  const { imagePath } = record.disks.find(({ diskKey }) => diskKey === disk.key)!;
  return { point, disk, path: join(world.repositoryPath, imagePath) };
}

/** Where in the file a byte of the image's own data is. */
async function ownData(path: string, random: Random): Promise<number | undefined> {
  const { stdout } = await runCommand('qemu-img', ['map', '--output=json', '-f', 'qcow2', path], {
    code: 'process_failed',
    what: 'its map',
  });
  const map = JSON.parse(stdout) as { depth: number; data: boolean; offset?: number; length: number }[];
  const own = random.oneOf(
    map.filter(({ depth, data, offset }) => depth === 0 && data && offset !== undefined),
  );
  return own && own.offset! + random.between(0, own.length - 1);
}
