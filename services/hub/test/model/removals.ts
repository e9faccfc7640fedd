import type { TaskRecord, TaskResult } from '@sendense/catalog';
import { toSendenseError } from '@sendense/core';
import { removalRequest } from '../../src/chains/remove-task.js';
import { pruneRequest } from '../../src/retention/prune-task.js';
import { crash } from './crash.js';
import type { ModelPoint } from './model.js';
import type { Random } from './random.js';
import { requireThat } from './require-that.js';
import type { Subject } from './subject.js';

/** A removal has about so many steps at which a hub can crash. */
const MOST_STEPS = 110;

/** The first, the last, or any: each is another case. */
function randomPoint({ model: { points } }: Subject, random: Random): ModelPoint | undefined {
  return random.oneOf([points[0], points.at(-1), random.oneOf(points), random.oneOf(points)]);
}

export async function remove(subject: Subject, random: Random): Promise<void> {
  const point = randomPoint(subject, random);
  if (point) await removePoint(subject, point.id);
}

async function removePoint(subject: Subject, pointId: string): Promise<void> {
  const { tasks, spine } = subject.world.hub;
  const { id } = await tasks.start(removalRequest(await spine.catalog.restorePoints.get(pointId), 'model'));
  await finishRemoval(subject, id, pointId);
}

/** Takes the end of a removal into the model. */
export async function finishRemoval(subject: Subject, taskId: string, pointId: string): Promise<void> {
  const { model, world } = subject;
  const task = await world.endOfTask(taskId);
  subject.seen.add(taskId);
  const refusal = model.refusal(pointId);
  requireEnd(task, refusal === undefined ? 'completed' : 'failed', refusal);
  world.counts.add(refusal === undefined ? 'removals' : 'removals refused');
  if (refusal === undefined) model.remove(pointId);
}

/** Cancelled at once: it is taken back, or it has gone too far and is finished. */
export async function cancelRemoval(subject: Subject, random: Random): Promise<void> {
  const point = randomPoint(subject, random);
  if (!point) return;
  const { model, world } = subject;
  const { tasks, spine } = world.hub;
  const { id } = await tasks.start(removalRequest(await spine.catalog.restorePoints.get(point.id), 'model'));
  // It comes at another moment each time: the rounds of the event loop are not the seed's.
  for (let rounds = random.between(0, 60); rounds > 0; rounds--) await new Promise(setImmediate);
  try {
    await tasks.cancel(id, 'changed my mind');
  } catch (error) {
    requireThat(toSendenseError(error).code === 'conflict', `cancelling ${id}: ${String(error)}`);
  }
  const { state } = await world.endOfTask(id);
  if (state !== 'cancelled') return finishRemoval(subject, id, point.id);
  world.counts.add('removals cancelled');
  requireThat(model.points.includes(point), 'the model has lost a point');
}

/** The hub is killed at any step of a removal; the next one finishes it. */
export async function crashRemoval(subject: Subject, random: Random): Promise<void> {
  const point = randomPoint(subject, random);
  if (!point) return;
  await crash(subject, { kind: 'remove', pointId: point.id }, random.between(1, MOST_STEPS));
  const { catalog } = subject.world.hub.spine;
  const [task] = (await catalog.tasks.list({ subject: { type: 'restore_point', id: point.id } })).items;
  // It may have come before there was a task.
  if (task && !subject.seen.has(task.id)) await finishRemoval(subject, task.id, point.id);
}

export async function prune(subject: Subject, random: Random): Promise<void> {
  const { model, world, contextId, repositoryId } = subject;
  const keepLast = random.between(1, 4);
  await world.hub.spine.catalog.retention.set(
    { contextId },
    { keepLast, daily: 0, weekly: 0, monthly: 0, yearly: 0 },
  );
  const task = await world.runTask(pruneRequest({ contextId, repositoryId }, 'model'));
  const { removed, failed } = model.prune(keepLast);
  world.counts.add('removals', removed.length);
  const result = requireEnd(task, 'completed') as unknown as {
    removed: string[];
    failed: { restore_point_id: string }[];
  };
  requireThat(
    result.removed.join() === removed.join() &&
      result.failed.map((one) => one.restore_point_id).join() === failed.join(),
    `keeping the last ${keepLast} did ${JSON.stringify(result)}, and should have removed ${removed.join()} and not ${failed.join()}`,
  );
}

export async function hold(subject: Subject, random: Random, held: boolean): Promise<void> {
  const point = random.oneOf(subject.model.points);
  if (!point) return;
  const { restorePoints } = subject.world.hub.spine.catalog;
  await (held ? restorePoints.hold(point.id, 'for the auditor') : restorePoints.release(point.id));
  point.held = held;
}

/** The newest before the others: nothing is merged, and nothing refuses. */
export async function removeAll(subject: Subject): Promise<void> {
  const { restorePoints } = subject.world.hub.spine.catalog;
  for (const { id } of subject.model.points.toReversed()) {
    await restorePoints.release(id);
    subject.model.get(id).held = false;
    await removePoint(subject, id);
  }
}

/** @returns what it found or did */
export function requireEnd(task: TaskRecord, state: TaskRecord['state'], code?: string): TaskResult {
  const error = task.state === 'failed' ? task.error : undefined;
  requireThat(
    task.state === state && error?.code === code,
    `${task.kind} ended ${task.state} ${JSON.stringify(error ?? '')}, and should have ended ${state} ${code ?? ''}`,
  );
  return ('result' in task ? task.result : undefined) ?? {};
}
