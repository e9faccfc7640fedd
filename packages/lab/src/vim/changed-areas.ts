import type { Extent } from '@sendense/core';
import { parseChangeId } from '../model/ids.js';
import type { DiskState, SnapshotDiskState, VmState } from '../model/state.js';
import { allocatedAreas, changedSince } from '../operations/tracking.js';
import { GRAIN_BYTES } from '../storage/grain-map.js';
import { fileFault, invalidArgument, objectNotFound } from '../soap/fault.js';
import { list, long, object, type Value } from '../soap/value.js';
import type { ChangedAreasLie } from '../types.js';
import { optionalReference, requiredText, wholeNumber } from '../soap/arguments.js';
import type { Call } from './call.js';

/** As many as vCenter puts into one answer. */
const MOST_AREAS = 2000;

interface Reply {
  readonly startOffset: number;
  readonly length: number;
  readonly areas: readonly Extent[];
}

/** One page of what changed on a disk since a changeId, or with `*` of what is allocated. */
export async function queryChangedDiskAreas(call: Call, vm: VmState): Promise<Value> {
  const deviceKey = wholeNumber(call.arguments, 'deviceKey');
  const startOffset = wholeNumber(call.arguments, 'startOffset');
  const disk = wantedDisk(call, vm, deviceKey);
  if (startOffset === undefined || startOffset < 0 || startOffset >= disk.sizeBytes)
    throw invalidArgument('startOffset');
  const areas = wantedAreas(call, vm, disk, requiredText(call.arguments, 'changeId').trim(), startOffset);
  let reply = page(areas, startOffset, disk.sizeBytes);
  for (const { lie } of call.faults) if (lie) reply = LIES[lie](reply, disk.sizeBytes);
  return object('DiskChangeInfo', {
    startOffset: long(reply.startOffset),
    length: long(reply.length),
    changedArea: list(
      'DiskChangeExtent',
      reply.areas.map(({ offset, length }) =>
        object('DiskChangeExtent', { start: long(offset), length: long(length) }),
      ),
    ),
  });
}

function wantedDisk(call: Call, vm: VmState, deviceKey: number | undefined): DiskState | SnapshotDiskState {
  const moref = optionalReference(call.arguments, 'snapshot')?.moref;
  const snapshot =
    moref === undefined ? undefined : vm.snapshots.find((candidate) => candidate.moref === moref);
  if (moref !== undefined && !snapshot) throw objectNotFound('VirtualMachineSnapshot', moref);
  const disk = (snapshot ?? vm).disks.find(({ key }) => key === deviceKey);
  if (!disk) throw invalidArgument('deviceKey');
  return disk;
}

function wantedAreas(
  call: Call,
  vm: VmState,
  disk: DiskState | SnapshotDiskState,
  changeId: string,
  from: number,
): Extent[] {
  const { context } = call.service;
  const { tracking } = disk;
  const path = `/vmfs/volumes/${disk.fileName.replace(/^\[(.*?)\] /, '$1/')}`;
  // Without tracking, and for a changeId of another tracking, vCenter cannot read its record of changes.
  if (!tracking) throw fileFault(path);
  if (changeId === '*') {
    if (!tracking.allocatedKnown) throw fileFault(path);
    return allocatedAreas(context, vm, disk);
  }
  const parsed = parseChangeId(changeId);
  if (!parsed) throw invalidArgument('changeId');
  if (parsed.id !== tracking.id) throw fileFault(path);
  if (parsed.epoch > tracking.epoch) throw invalidArgument('changeId');
  if (parsed.epoch < (tracking.unknownBefore ?? 0)) throw fileFault(path);
  return changedSince(context, tracking, parsed.epoch, disk.sizeBytes, { from, most: MOST_AREAS + 1 });
}

function page(areas: readonly Extent[], startOffset: number, sizeBytes: number): Reply {
  const found = areas.findIndex(({ offset, length }) => offset + length > startOffset);
  const from = found === -1 ? areas.length : found;
  const shown = areas.slice(from, from + MOST_AREAS).map(({ offset, length }) => {
    const start = Math.max(offset, startOffset);
    return { offset: start, length: offset + length - start };
  });
  const next = areas[from + MOST_AREAS];
  // The page reaches up to the first area that did not fit, or to the end of the disk.
  return { startOffset, length: (next?.offset ?? sizeBytes) - startOffset, areas: shown };
}

const LIES: Record<ChangedAreasLie, (reply: Reply, sizeBytes: number) => Reply> = {
  omit_areas: (reply) => ({ ...reply, areas: reply.areas.filter((_, index) => index % 2 === 1) }),
  no_areas: (reply) => ({ ...reply, areas: [] }),
  wrong_start_offset: (reply) => ({ ...reply, startOffset: reply.startOffset + GRAIN_BYTES }),
  short_length: (reply) => {
    const last = reply.areas.at(-1);
    return { ...reply, length: last ? last.offset + last.length - reply.startOffset : 0 };
  },
  zero_length: (reply) => ({ ...reply, length: 0, areas: [] }),
  beyond_end: (reply, sizeBytes) => ({
    ...reply,
    areas: [...reply.areas, { offset: sizeBytes + GRAIN_BYTES, length: GRAIN_BYTES }],
  }),
  empty_pages: (reply) => {
    const [first] = reply.areas;
    if (!first) return reply;
    const gap = first.offset - reply.startOffset;
    if (gap > 0) return { ...reply, length: gap, areas: [] };
    const gapBehind = reply.areas.findIndex(
      ({ offset }, index) => index > 0 && offset > endOf(reply.areas[index - 1] ?? first),
    );
    const areas = gapBehind === -1 ? reply.areas : reply.areas.slice(0, gapBehind);
    return { ...reply, length: endOf(areas.at(-1) ?? first) - reply.startOffset, areas };
  },
  unordered: (reply) => ({
    ...reply,
    areas: reply.areas
      .flatMap((area) => [area, { offset: area.offset, length: Math.ceil(area.length / 2) }])
      .toReversed(),
  }),
};

function endOf({ offset, length }: Extent): number {
  return offset + length;
}
