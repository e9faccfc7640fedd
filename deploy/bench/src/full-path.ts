import { rmSync, statSync } from 'node:fs';
import { SendenseError } from '@sendense/core';
import type { ProtectedWorkload, Setting } from './setting.js';

export interface Timing {
  /** From the first byte asked for to the last one flushed; with several disks from the first to the last of them. */
  readonly copySeconds: number;
  /** Of a backup: with everything before and after, from the request to the sealed restore point. */
  readonly endToEndSeconds?: number;
}

interface Event {
  readonly type: string;
  readonly data: { readonly at: string; readonly status?: string };
}

interface Backup {
  readonly backup_id: string;
  readonly state: string;
  readonly error?: { readonly code: string; readonly message: string } | null;
  readonly disk_results: readonly { readonly qcow2_path?: string | null }[];
}

const MIB = 1 << 20;

/**
 * A full backup through the API. Its copy time is taken from the backup's own events: a disk is `copying` when its extents
 * are known and all is connected, and `copied` when everything is flushed.
 */
export async function backUp(setting: Setting, workload: ProtectedWorkload): Promise<Timing> {
  const startedAt = performance.now();
  const { backup_id: id } = await request<Backup>(setting, '/api/v1/backups', {
    vm_name: workload.vm.name,
    repository_id: setting.repositoryId,
    backup_type: 'full',
  });
  const events = await eventsToEnd(setting, id);
  const endToEndSeconds = (performance.now() - startedAt) / 1000;
  const backup = await request<Backup>(setting, `/api/v1/backups/${id}`);
  if (backup.state !== 'completed') {
    throw new SendenseError(
      'internal',
      `the backup of ${workload.name} ended as ${backup.state}: ${backup.error?.message ?? 'no reason given'}`,
    );
  }
  removeImages(backup, workload);
  const times = (status: string) =>
    events
      .filter(({ type, data }) => type === 'disk' && data.status === status)
      .map(({ data }) => Date.parse(data.at));
  const copySeconds = (Math.max(...times('copied')) - Math.min(...times('copying'))) / 1000;
  if (!Number.isFinite(copySeconds))
    throw new SendenseError(
      'internal',
      `the backup of ${workload.name} does not say when its disks were copied`,
    );
  return { copySeconds, endToEndSeconds };
}

/** A path that is quick because it leaves something out would win every comparison. */
function removeImages({ disk_results: disks }: Backup, { name, dataMib }: ProtectedWorkload): void {
  for (const { qcow2_path: path } of disks) {
    if (!path) throw new SendenseError('internal', `the backup of ${name} has no image`);
    requireData(path, dataMib);
    rmSync(path);
  }
}

/** @throws `internal` when an image holds less than the data that was copied into it */
export function requireData(path: string, dataMib: number): void {
  const storedMib = (statSync(path).blocks * 512) / MIB;
  if (storedMib < dataMib)
    throw new SendenseError('internal', `${path} holds ${storedMib} MiB of ${dataMib}: it is no copy`);
}

async function eventsToEnd({ pair }: Setting, id: string): Promise<Event[]> {
  const response = await fetch(`${pair.url}/api/v1/backups/${id}/events`, {
    headers: { authorization: `Bearer ${pair.token}` },
  });
  const text = await response.text();
  return text.split('\n\n').flatMap((block) => {
    const type = /^event: ?(.*)$/m.exec(block)?.[1];
    const data = /^data: ?(.*)$/m.exec(block)?.[1];
    return type === undefined || data === undefined
      ? []
      : [{ type, data: JSON.parse(data) as Event['data'] }];
  });
}

async function request<T>({ pair }: Setting, path: string, body?: object): Promise<T> {
  const headers = { authorization: `Bearer ${pair.token}`, 'content-type': 'application/json' };
  const response = await fetch(
    `${pair.url}${path}`,
    body ? { method: 'POST', headers, body: JSON.stringify(body) } : { headers },
  );
  if (response.ok) return (await response.json()) as T;
  throw new SendenseError('internal', `${path} answered ${response.status}: ${await response.text()}`);
}
