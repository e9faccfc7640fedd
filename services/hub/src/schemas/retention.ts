import type { RetentionPolicy as Policy } from '@sendense/core';
import { Type, type Static } from 'typebox';
import { textFormat } from '../api/validation.js';
import type { RemovalCost } from '../retention/removal-costs.js';
import type { RetentionPlan } from '../retention/retention-plan.js';
import { Bytes, Exactly, Id, Nullable, NullableInput, Time } from './fields.js';

const Count = (description: string) =>
  Type.Optional(
    Type.Integer({ minimum: 0, maximum: 1_000_000, description: `${description}; 0 if not given` }),
  );

/** What is asked for: counts that are left out are 0. */
export const NewRetentionPolicy = Exactly(
  {
    keep_last: Count('the newest so many points'),
    daily: Count('the newest point of each of the newest so many days that have one'),
    weekly: Count('… of the newest so many weeks (ISO 8601)'),
    monthly: Count('… of the newest so many months'),
    yearly: Count('… of the newest so many years'),
    time_zone: Type.Optional(
      NullableInput(
        Type.String({
          minLength: 1,
          maxLength: 100,
          ...textFormat,
          description: 'where a day begins, an IANA name; UTC if not given',
          examples: ['Europe/Berlin'],
        }),
      ),
    ),
  },
  'NewRetentionPolicy',
);

export const RetentionPolicy = Type.Object(
  {
    keep_last: Type.Integer(),
    daily: Type.Integer(),
    weekly: Type.Integer(),
    monthly: Type.Integer(),
    yearly: Type.Integer(),
    time_zone: Nullable(Type.String({ description: 'null is UTC' })),
  },
  { title: 'RetentionPolicy' },
);

export const RetentionSetting = Type.Object(
  { policy: Nullable(RetentionPolicy) },
  { title: 'RetentionSetting', description: 'null when none is set here' },
);

export const RetentionTarget = Exactly({ repository_id: Id('whose points of this VM') });

export const RetentionPreview = Type.Object(
  {
    context_id: Type.String(),
    repository_id: Type.String(),
    policy: Nullable(RetentionPolicy),
    policy_source: Type.Enum(['vm', 'repository', 'none'], {
      description: '`vm`: its own; `repository`: the default there; `none`: everything is kept',
    }),
    points: Type.Array(
      Type.Object({
        restore_point_id: Type.String(),
        taken_at: Time('the instant that it shows'),
        backup_type: Type.Enum(['full', 'incremental']),
        suspect: Type.Boolean(),
        held: Type.Boolean(),
        stored_bytes: Bytes('what its own images occupy'),
        action: Type.Enum(['keep', 'remove']),
        reasons: Type.Array(
          Type.Object({
            reason: Type.Enum([
              'last',
              'daily',
              'weekly',
              'monthly',
              'yearly',
              'held',
              'newest',
              'no_policy',
            ]),
            detail: Type.String(),
          }),
          { description: 'every reason to keep it' },
        ),
        blocked: Nullable(
          Type.String({ description: 'why it cannot be removed now although no rule keeps it' }),
        ),
        removal: Nullable(
          Type.Object(
            {
              methods: Type.Array(Type.Enum(['drop', 'commit', 'pull']), {
                description:
                  'per disk: `drop`: nothing builds on it; `commit`, `pull`: its data is merged into the next point',
              }),
              bytes_to_copy: Bytes('written by merging, at most'),
              bytes_freed: Bytes('given back, at most'),
              fits: Type.Boolean({ description: 'whether the repository has room for it now' }),
            },
            { description: 'what removing it costs, after those before it are gone' },
          ),
        ),
      }),
      { description: 'newest first' },
    ),
    remove_count: Type.Integer(),
    bytes_to_copy: Bytes('of all removals'),
    bytes_freed: Bytes('of all removals, at most'),
  },
  { title: 'RetentionPreview' },
);

export function toPolicy(body: Static<typeof NewRetentionPolicy>): Policy {
  const { keep_last: keepLast = 0, daily = 0, weekly = 0, monthly = 0, yearly = 0, time_zone } = body;
  return { keepLast, daily, weekly, monthly, yearly, ...(time_zone ? { timeZone: time_zone } : {}) };
}

export function policyView(policy: Policy | undefined): Static<typeof RetentionSetting>['policy'] {
  if (!policy) return null;
  const { keepLast: keep_last, daily, weekly, monthly, yearly, timeZone } = policy;
  return { keep_last, daily, weekly, monthly, yearly, time_zone: timeZone ?? null };
}

export function retentionPreviewView(
  ids: { readonly contextId: string; readonly repositoryId: string },
  { effective, points, toRemove, blocked }: RetentionPlan,
  costs: readonly RemovalCost[],
): Static<typeof RetentionPreview> {
  const byId = new Map(costs.map((cost) => [cost.pointId, cost]));
  const sum = (field: 'bytesToCopy' | 'bytesFreed') => costs.reduce((total, cost) => total + cost[field], 0);
  return {
    context_id: ids.contextId,
    repository_id: ids.repositoryId,
    policy: policyView(effective.policy),
    policy_source: effective.source,
    points: points.map(({ point, decision }) => {
      const cost = byId.get(point.id);
      return {
        restore_point_id: point.id,
        taken_at: point.takenAt.toISOString(),
        backup_type: point.type,
        suspect: point.suspect,
        held: point.heldAt !== undefined,
        stored_bytes: point.disks.reduce((total, disk) => total + disk.storedBytes, 0),
        action: decision.keep ? 'keep' : 'remove',
        reasons: decision.reasons.map(({ reason, detail }) => ({ reason, detail })),
        blocked: blocked.find((one) => one.point.id === point.id)?.reason ?? null,
        removal: cost
          ? {
              methods: [...cost.methods],
              bytes_to_copy: cost.bytesToCopy,
              bytes_freed: cost.bytesFreed,
              fits: cost.fits,
            }
          : null,
      };
    }),
    remove_count: toRemove.length,
    bytes_to_copy: sum('bytesToCopy'),
    bytes_freed: sum('bytesFreed'),
  };
}
