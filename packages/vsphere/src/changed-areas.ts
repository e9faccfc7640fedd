import {
  clipExtents,
  errorCode,
  mergeExtents,
  SendenseError,
  toSendenseError,
  type Extent,
} from '@sendense/core';
import { virtualMachine } from './inventory.js';
import { faultAs, isFault } from './soap/fault.js';
import { reference, value } from './soap/markup.js';
import { readSize, required } from './soap/values.js';
import type { XmlElement } from './soap/xml.js';
import type { ChangedAreasRequest } from './types.js';
import type { VimClient } from './vim/client.js';

/** vCenter walks the disk's metadata before it answers; on large disks that takes minutes. */
const QUERY_TIMEOUT_MS = 5 * 60_000;

/** A real reply covers many areas. So many replies for one disk come only from a server that walks in circles. */
const MAX_REPLIES = 100_000;

/** Tracking works in blocks (64 KiB to 1 MiB): the last one may stand over the end of the disk, by less than this. */
const MAX_OVERHANG_BYTES = 1 << 20;

/** Faults that say nothing about changed block tracking: a full backup would meet them, too. */
const OTHER_FAULTS = [
  'NotAuthenticated',
  'NoPermission',
  'ManagedObjectNotFound',
  'TaskInProgress',
  'HostCommunication',
  'HostNotConnected',
  'HostNotReachable',
  'RequestCanceled',
  'Timedout',
];

/** One reply: what it claims to cover, and where in it something changed. */
interface ChangeInfo {
  readonly startOffset: number;
  readonly length: number;
  readonly areas: readonly Extent[];
}

/**
 * Asks page after page until the replies cover the disk. A reply holds some 2000 areas at most, and one without areas is
 * not the last: only the sum of the lengths says where to ask next and when to stop. Tools that did otherwise have lost
 * changes without a word (CDI #3534, bareos PR #2152, migratekit #24), so every reply is held against what was asked.
 */
export async function changedAreas(client: VimClient, request: ChangedAreasRequest): Promise<Extent[]> {
  const { capacityBytes } = request;
  if (!Number.isSafeInteger(capacityBytes) || capacityBytes <= 0 || request.changeId === '') {
    throw new SendenseError(
      'invalid_argument',
      `disk ${request.diskKey} needs a capacity and a changeId to ask for`,
    );
  }
  const areas: Extent[] = [];
  let offset = 0;
  for (let replies = 0; offset < capacityBytes; replies++) {
    if (replies === MAX_REPLIES) throw invalid(request, offset, `${replies} replies did not cover the disk`);
    const info = await query(client, request, offset);
    checkReply(request, offset, info);
    for (const area of info.areas) areas.push(area);
    offset = info.startOffset + info.length;
  }
  return clipExtents(mergeExtents(areas), capacityBytes);
}

async function query(client: VimClient, request: ChangedAreasRequest, offset: number): Promise<ChangeInfo> {
  const { vmMoref, snapshotMoref, diskKey, changeId, signal } = request;
  const parameters = [
    reference('snapshot', { type: 'VirtualMachineSnapshot', value: snapshotMoref }),
    value('deviceKey', diskKey),
    value('startOffset', offset),
    value('changeId', changeId),
  ];
  const options = { timeoutMs: Math.max(client.timeoutMs, QUERY_TIMEOUT_MS), ...(signal ? { signal } : {}) };
  try {
    const [answer] = await client.call('QueryChangedDiskAreas', virtualMachine(vmMoref), parameters, options);
    return readChangeInfo(required(answer, 'the changed areas'));
  } catch (error) {
    if (errorCode(error) !== 'vcenter_fault' || isFault(error, ...OTHER_FAULTS)) throw error;
    const disk = `disk ${diskKey} of ${vmMoref}`;
    const what =
      changeId === '*'
        ? `vCenter cannot tell which areas of ${disk} are allocated`
        : `vCenter cannot tell what changed on ${disk} since changeId ${changeId}, take a full backup`;
    throw faultAs('changed_areas_unavailable', what, toSendenseError(error));
  }
}

function readChangeInfo(info: XmlElement): ChangeInfo {
  const size = (element: XmlElement, name: string) =>
    required(readSize(element.child(name)), `${name} of the changed areas`);
  return {
    startOffset: size(info, 'startOffset'),
    length: size(info, 'length'),
    areas: info
      .all('changedArea')
      .map((area) => ({ offset: size(area, 'start'), length: size(area, 'length') })),
  };
}

function checkReply(request: ChangedAreasRequest, asked: number, info: ChangeInfo): void {
  const { capacityBytes } = request;
  const end = info.startOffset + info.length;
  if (info.startOffset !== asked) throw invalid(request, asked, `it starts at ${info.startOffset}`);
  if (info.length === 0) throw invalid(request, asked, 'it covers nothing');
  if (end > capacityBytes) throw invalid(request, asked, `it ends at ${end}, behind the end of the disk`);
  const mayEndAt = end === capacityBytes ? end + MAX_OVERHANG_BYTES - 1 : end;
  const stray = info.areas.find(
    (area) =>
      area.length === 0 ||
      area.offset < info.startOffset ||
      area.offset >= end ||
      area.offset + area.length > mayEndAt,
  );
  if (stray) {
    throw invalid(
      request,
      asked,
      `its area at ${stray.offset} of ${stray.length} bytes is not inside what it covers (${info.startOffset} to ${end})`,
    );
  }
}

function invalid(request: ChangedAreasRequest, asked: number, why: string): SendenseError {
  const { vmMoref, snapshotMoref, diskKey, capacityBytes } = request;
  return new SendenseError(
    'changed_areas_invalid',
    `the changed areas of disk ${diskKey} of ${vmMoref} cannot be trusted: of the reply for offset ${asked}, ${why}. ` +
      'Take a full backup without them',
    {
      context: {
        vm_moref: vmMoref,
        snapshot_moref: snapshotMoref,
        disk_key: diskKey,
        capacity_bytes: capacityBytes,
        asked_offset: asked,
      },
    },
  );
}
