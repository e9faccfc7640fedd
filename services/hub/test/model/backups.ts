import { removalRequest } from '../../src/chains/remove-task.js';
import type { Phase } from '../stage/fake-job.js';
import { crash } from './crash.js';
import { guestWrites } from './guest.js';
import type { ModelDisk } from './model.js';
import type { Random } from './random.js';
import { requireThat } from './require-that.js';
import { finishRemoval } from './removals.js';
import type { Subject } from './subject.js';

/** A backup has about so many steps at which a hub can crash. */
const MOST_STEPS = 100;

type Type = 'full' | 'incremental';

/** A backup that was started, with what it must become. */
interface Attempt {
  readonly disks: readonly ModelDisk[];
  /** The points that its audit must put in doubt: then it fails. */
  readonly caught: ReadonlySet<string>;
}

export async function backUp(subject: Subject, type: Type, random: Random): Promise<void> {
  if (random.chance(0.85)) guestWrites(subject.vm, random);
  const attempt = attemptAt(subject, type);
  const { id } = await subject.world.hub.spine.start(subject.contextId, { type });
  await finish(subject, id, attempt, 'completed');
}

export async function cancelBackup(subject: Subject, random: Random): Promise<void> {
  guestWrites(subject.vm, random);
  const { node, hub } = subject.world;
  const type = randomType(random);
  const phase = random.oneOf<Phase>(['accepted', 'snapshot', 'copying', 'copied', 'hashes']) ?? 'accepted';
  const attempt = attemptAt(subject, type);
  const hold = node.hold(phase);
  try {
    const { id } = await hub.spine.start(subject.contextId, { type });
    // A job that has nothing to read, or that fails before, never comes there.
    await Promise.race([hold.reached, hub.spine.end(id)]);
    await hub.spine.runs.cancel(id, 'changed my mind');
    await finish(subject, id, attempt, 'cancelled');
  } finally {
    hold.release();
  }
}

/** The hub is killed at any step of a backup; the next one finishes what was decided, and ends the rest. */
export async function crashBackup(subject: Subject, random: Random): Promise<void> {
  guestWrites(subject.vm, random);
  const type = randomType(random);
  const attempt = attemptAt(subject, type);
  const { contextId, world } = subject;
  await crash(subject, { kind: 'backup', contextId, type }, random.between(1, MOST_STEPS));
  const { catalog } = world.hub.spine;
  const [last] = (await catalog.backups.list({ contextId, limit: 1 })).items;
  const isNew = last !== undefined && !subject.seen.has(last.id);
  if (isNew) await finish(subject, last.id, attempt, 'crashed');
}

/** A removal waits for a backup whose parent might be what it removes. */
export async function removeDuringBackup(subject: Subject, random: Random): Promise<void> {
  guestWrites(subject.vm, random);
  const { hub, node } = subject.world;
  const attempt = attemptAt(subject, 'incremental');
  const point = random.oneOf(subject.model.points);
  const hold = node.hold('snapshot');
  try {
    const { id } = await hub.spine.start(subject.contextId, { type: 'incremental' });
    await hold.reached;
    const removal =
      point &&
      (await hub.tasks.start(removalRequest(await hub.spine.catalog.restorePoints.get(point.id), 'model')));
    if (removal)
      requireThat(
        hub.tasks.queue().some(({ taskId }) => taskId === removal.id),
        `${removal.id} did not wait for ${id}`,
      );
    hold.release();
    await finish(subject, id, attempt, 'completed');
    if (removal) await finishRemoval(subject, removal.id, point.id);
  } finally {
    hold.release();
  }
}

function attemptAt(subject: Subject, type: Type): Attempt {
  const disks = subject.expect(type);
  return { disks, caught: subject.caughtBy(disks) };
}

function randomType(random: Random): Type {
  return random.chance(0.75) ? 'incremental' : 'full';
}

/** Takes the end of a backup into the model. @throws when it is not one that it may have */
async function finish(
  subject: Subject,
  id: string,
  { disks, caught }: Attempt,
  wanted: 'completed' | 'cancelled' | 'crashed',
): Promise<void> {
  const { model, vm, world } = subject;
  const record = await world.hub.spine.end(id);
  subject.seen.add(id);
  world.counts.add(`backups ${record.state}`);
  const code = record.state === 'failed' ? record.error.code : undefined;
  if (caught.size > 0 && code === 'cbt_audit_failed') {
    world.counts.add('lies of change tracking found');
    for (const point of model.points) point.suspect ||= caught.has(point.id);
    return;
  }
  if (wanted === 'crashed' && caught.size > 0) {
    // The crash came before the backup could be called failed, and may have come after the audit.
    for (const { id: suspect } of await suspects(subject))
      if (caught.has(suspect)) model.get(suspect).suspect = true;
  }
  if (record.state !== 'completed') {
    const mayBe =
      wanted === 'cancelled'
        ? record.state === 'cancelled'
        : wanted === 'crashed' && code === 'hub_restarted';
    requireThat(
      mayBe,
      `${id} is ${record.state} (${JSON.stringify('error' in record ? record.error : '')}) and should be ${wanted}`,
    );
    return;
  }
  requireThat(caught.size === 0, `${id} is completed although change tracking left changes out`);
  model.points.push({ id, disks: [...disks], suspect: false, held: false });
  for (const { key } of disks) {
    subject.changeIds.set(`${id} ${key}`, vm.disk(key).changeId);
    vm.fullReasons.delete(key);
  }
}

async function suspects({ world, contextId, repositoryId }: Subject) {
  const points = await world.hub.spine.catalog.restorePoints.ofContext(contextId, repositoryId);
  return points.filter(({ suspect }) => suspect);
}
