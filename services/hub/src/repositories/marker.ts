import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SendenseError, systemErrorCode } from '@sendense/core';
import { writeFileAtomically } from '@sendense/runtime';

/**
 * The file in a repository's directory that names the repository. A mount point whose file system is not mounted is an
 * empty directory that can be written to; without the mark, backups would silently fill the disk below it.
 */
export const MARKER_FILE = '.sendense-repository.json';

export interface Marker {
  readonly repositoryId: string;
  /** Fingerprint of the hub's host key: two hubs do not share a repository. */
  readonly hubId: string;
}

/** @returns undefined when there is none @throws `manifest_invalid` when it cannot be understood */
export async function readMarker(directory: string): Promise<Marker | undefined> {
  const path = join(directory, MARKER_FILE);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  const marker = parseMarker(text);
  if (marker) return marker;
  throw new SendenseError(
    'manifest_invalid',
    `${path} does not name a repository: restore the file, or remove it and add the repository again`,
    { context: { path } },
  );
}

function parseMarker(text: string): Marker | undefined {
  try {
    const { repository_id, hub_id } = JSON.parse(text) as Record<string, unknown>;
    if (typeof repository_id !== 'string' || typeof hub_id !== 'string') return undefined;
    return { repositoryId: repository_id, hubId: hub_id };
  } catch {
    return undefined;
  }
}

export function markerText({ repositoryId, hubId }: Marker): string {
  return `${JSON.stringify({ schema: 1, repository_id: repositoryId, hub_id: hubId })}\n`;
}

export async function writeMarker(directory: string, marker: Marker): Promise<void> {
  await writeFileAtomically(join(directory, MARKER_FILE), markerText(marker));
}

export async function removeMarker(directory: string): Promise<void> {
  await rm(join(directory, MARKER_FILE), { force: true });
}
