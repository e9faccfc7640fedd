import type { ChangeTracking as ChangeTrackingRecord } from '@sendense/catalog';
import type { ChangeTracking } from '@sendense/contracts';
import { toSendenseError } from '@sendense/core';

const IN_WORDS: Readonly<Record<string, string>> = {
  already_enabled: 'it was on already',
  enabled_now: 'Sendense enabled it',
  started_now: 'it was on, and Sendense started it',
  snapshots_exist:
    'not enabled, because the VM carries a snapshot, whose content would not be tracked: remove it, and the next backup enables it',
  not_supported: 'the VM cannot have it: its virtual hardware must be version 7 or later',
  failed: 'it could not be enabled: the warnings of the last backup say why, and the next one tries again',
};

/** What a node found or did, for the catalogue; undefined when it says nothing about the VM. */
export function foundTracking({ enabled, outcome }: ChangeTracking): ChangeTrackingRecord | undefined {
  if (outcome === 'not_requested') return undefined;
  const detail = IN_WORDS[outcome] ?? outcome;
  if (enabled) return { state: 'enabled', detail };
  return { state: outcome === 'failed' ? 'unknown' : 'unavailable', detail };
}

/** Nobody could ask, or the answer did not come. */
export function unknownTracking(error: unknown): ChangeTrackingRecord {
  const { message } = toSendenseError(error);
  return { state: 'unknown', detail: `it could not be started now (${message}); the next backup enables it` };
}
