import { SendenseError } from '@sendense/core';
import type { Constellation } from '@sendense/stage';

export interface Backup {
  readonly backup_id: string;
  readonly state: string;
  readonly error?: { readonly code: string; readonly message: string } | null;
  readonly disk_results: readonly DiskResult[];
}

interface DiskResult {
  readonly backup_type: string;
  readonly reason?: string | null;
  readonly qcow2_path?: string | null;
}

export interface BackupRequest {
  readonly vmName: string;
  readonly repositoryId: string;
  readonly type: 'full' | 'incremental';
}

/** A backup that has been sealed, and how long it took. */
export interface TakenBackup {
  readonly backup: Backup;
  /** Of the copying alone, from the first disk's begin to the last one's end. */
  readonly copySeconds: number;
  /** From the request to the sealed restore point. */
  readonly endToEndSeconds: number;
}

interface Event {
  readonly type: string;
  readonly data: { readonly at: string; readonly status?: string };
}

/**
 * Takes a backup through the API. Its copy time is taken from the backup's own events: a disk is `copying` when its extents
 * are known and all is connected, and `copied` when everything is flushed.
 *
 * @throws `internal` when it fails, or is of another type than was asked for
 */
export async function takeBackup(
  pair: Constellation,
  { vmName, repositoryId, type }: BackupRequest,
): Promise<TakenBackup> {
  const startedAt = performance.now();
  const { backup_id: id } = await request<Backup>(pair, '/api/v1/backups', {
    vm_name: vmName,
    repository_id: repositoryId,
    backup_type: type,
  });
  const events = await eventsToEnd(pair, id);
  const endToEndSeconds = (performance.now() - startedAt) / 1000;
  const backup = await request<Backup>(pair, `/api/v1/backups/${id}`);
  requireSealed(backup, vmName, type);
  const times = (status: string) =>
    events
      .filter(({ type: kind, data }) => kind === 'disk' && data.status === status)
      .map(({ data }) => Date.parse(data.at));
  const copySeconds = (Math.max(...times('copied')) - Math.min(...times('copying'))) / 1000;
  if (!Number.isFinite(copySeconds))
    throw new SendenseError('internal', `the backup of ${vmName} does not say when its disks were copied`);
  return { backup, copySeconds, endToEndSeconds };
}

/** @throws `internal` when there is not exactly one */
export function onlyImage({ disk_results: disks }: Backup): string {
  const [path, ...others] = disks.map(({ qcow2_path: image }) => image);
  if (path && others.length === 0) return path;
  throw new SendenseError('internal', 'a backup of one disk has no image, or several');
}

function requireSealed({ state, error, disk_results: disks }: Backup, vmName: string, type: string): void {
  if (state !== 'completed')
    throw new SendenseError(
      'internal',
      `the backup of ${vmName} ended as ${state}: ${error?.message ?? 'no reason given'}`,
    );
  const other = disks.find(({ backup_type: taken }) => taken !== type);
  if (other)
    throw new SendenseError(
      'internal',
      `the backup of ${vmName} should be ${type}, and a disk of it is ${other.backup_type}: ${other.reason ?? 'no reason given'}`,
    );
}

async function eventsToEnd(pair: Constellation, id: string): Promise<Event[]> {
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

async function request<T>(pair: Constellation, path: string, body?: object): Promise<T> {
  const headers = { authorization: `Bearer ${pair.token}`, 'content-type': 'application/json' };
  const response = await fetch(
    `${pair.url}${path}`,
    body ? { method: 'POST', headers, body: JSON.stringify(body) } : { headers },
  );
  if (response.ok) return (await response.json()) as T;
  throw new SendenseError('internal', `${path} answered ${response.status}: ${await response.text()}`);
}
