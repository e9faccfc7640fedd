import type { Catalog, EffectiveRetention, RestorePointRecord } from '@sendense/catalog';
import { applyRetention, type RetentionDecision } from '@sendense/core';
import { removalOrder, type BlockedRemoval } from './removal-order.js';

/** A point with what the policy says of it. */
export interface PointDecision {
  readonly point: RestorePointRecord;
  readonly decision: RetentionDecision;
}

export interface RetentionPlan {
  readonly effective: EffectiveRetention;
  /** All points of the VM in the repository, newest first. */
  readonly points: readonly PointDecision[];
  /** Those that go, in the order of their removal. */
  readonly toRemove: readonly RestorePointRecord[];
  /** Those that should go and cannot. */
  readonly blocked: readonly BlockedRemoval[];
}

/**
 * What the policy in force says now of a VM's points in a repository. Removals that were decided before are to be finished.
 *
 * @param upcoming a point that a backup would make, counted as if it were there
 */
export async function planRetention(
  catalog: Pick<Catalog, 'retention' | 'restorePoints'>,
  contextId: string,
  repositoryId: string,
  upcoming: readonly RestorePointRecord[] = [],
): Promise<RetentionPlan> {
  const effective = await catalog.retention.effective(contextId, repositoryId);
  const all = [...upcoming, ...(await catalog.restorePoints.ofContext(contextId, repositoryId))];
  const removing = all.filter(({ state }) => state === 'removing');
  const decisions = applyRetention(
    effective.policy,
    all
      .filter(({ state }) => state === 'sealed')
      .map(({ id, takenAt, heldAt, suspect }) => ({ id, takenAt, held: heldAt !== undefined, suspect })),
  );
  const gone = removing.map(({ id }): RetentionDecision => ({ id, keep: false, reasons: [] }));
  const byId = new Map([...decisions, ...gone].map((decision) => [decision.id, decision]));
  const points = all.flatMap((point) => {
    const decision = byId.get(point.id);
    return decision ? [{ point, decision }] : [];
  });
  const keep = new Set(points.flatMap(({ point, decision }) => (decision.keep ? [point.id] : [])));
  const { order, blocked } = removalOrder(
    points.map(({ point }) => point),
    ({ id }) => !keep.has(id),
  );
  return { effective, points, toRemove: order, blocked };
}
