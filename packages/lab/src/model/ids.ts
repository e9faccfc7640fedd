import { randomBytes, randomUUID } from 'node:crypto';
import type { TrackingState } from './state.js';

/** `6000C29a-…`: the backing uuid of a disk, with VMware's prefix. */
export function newDiskUuid(): string {
  return `6000C29${randomUUID().slice(7)}`;
}

/** `52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63`: the first part of a changeId. */
export function newTrackingId(): string {
  const bytes = [0x52, ...randomBytes(15)].map((byte) => byte.toString(16).padStart(2, '0'));
  return `${bytes.slice(0, 8).join(' ')}-${bytes.slice(8).join(' ')}`;
}

/** The same as a file name. */
export function trackingFileName(id: string): string {
  return id.replaceAll(' ', '');
}

export function changeIdOf(tracking: TrackingState): string {
  return `${tracking.id}/${tracking.epoch}`;
}

/** @returns undefined for what is no changeId */
export function parseChangeId(changeId: string): { readonly id: string; readonly epoch: number } | undefined {
  const match = /^((?:[0-9a-f]{2}[ -]){15}[0-9a-f]{2})\/(\d{1,9})$/.exec(changeId);
  return match?.[1] === undefined ? undefined : { id: match[1], epoch: Number(match[2]) };
}
