import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  assignNumbers,
  planDisks,
  type PlanReason,
  type PlanRequest,
  type PreviousDisk,
  type VmDisk,
} from './plan.js';

const GIB = 2 ** 30;

function disk(key: number, overrides: Partial<VmDisk> = {}): VmDisk {
  return {
    key,
    label: `Hard disk ${key}`,
    backingUuid: `uuid-${key}`,
    capacityBytes: GIB,
    ...overrides,
  };
}

function before(number: number, key: number, overrides: Partial<PreviousDisk> = {}): PreviousDisk {
  return {
    number,
    key,
    backingUuid: `uuid-${key}`,
    capacityBytes: GIB,
    changeId: `52 aa bb/${key}`,
    path: `ctx/disk-${number}/old.qcow2`,
    type: 'full',
    bytesRead: 1000,
    ...overrides,
  };
}

function request(overrides: Partial<PlanRequest> = {}): PlanRequest {
  return {
    contextId: 'ctx-pgtest1-20261121-080000',
    vmName: 'pgtest1',
    type: 'incremental',
    stamp: '20261121-084316',
    disks: [disk(2000), disk(2001)],
    knownDisks: [
      { number: 0, key: 2000, backingUuid: 'uuid-2000' },
      { number: 1, key: 2001, backingUuid: 'uuid-2001' },
    ],
    previous: { id: 'point-1', disks: [before(0, 2000), before(1, 2001)] },
    ...overrides,
  };
}

describe('planDisks', () => {
  it('names directories, images and exports as people know them', () => {
    const { disks } = planDisks(request({ type: 'full', knownDisks: [] }));
    expect(disks).toMatchObject([
      {
        key: 2000,
        number: 0,
        type: 'full',
        reason: 'requested',
        exportName: 'pgtest1-disk0',
        directory: 'ctx-pgtest1-20261121-080000/disk-0',
        imagePath: 'ctx-pgtest1-20261121-080000/disk-0/backup-pgtest1-disk0-20261121-084316.qcow2',
        hashesPath: 'ctx-pgtest1-20261121-080000/disk-0/backup-pgtest1-disk0-20261121-084316.hashes',
      },
      { key: 2001, number: 1, exportName: 'pgtest1-disk1' },
    ]);
  });

  it('reads only the changes of a disk that is in every respect the one of the previous point', () => {
    expect(planDisks(request()).disks[1]).toMatchObject({
      type: 'incremental',
      reason: 'changed_blocks',
      parent: { restorePointId: 'point-1', imagePath: 'ctx/disk-1/old.qcow2', changeId: '52 aa bb/2001' },
    });
  });

  const fulls: [string, PlanReason, Partial<PlanRequest>][] = [
    ['a full was asked for', 'requested', { type: 'full' }],
    [
      'the disk is new',
      'disk_added',
      { disks: [disk(2016)], previous: { id: 'p', disks: [before(0, 2000)] } },
    ],
    [
      'the backing uuid is another',
      'disk_replaced',
      { disks: [disk(2000, { backingUuid: 'somebody-else' })] },
    ],
    ['the capacity grew', 'disk_resized', { disks: [disk(2000, { capacityBytes: 2 * GIB })] }],
    ['the capacity shrank', 'disk_resized', { disks: [disk(2000, { capacityBytes: GIB - 512 })] }],
    ['it moved to another controller', 'disk_moved', { disks: [disk(2016, { backingUuid: 'uuid-2000' })] }],
    [
      'there was no changeId',
      'no_change_id',
      {
        disks: [disk(2000)],
        previous: { id: 'p', disks: [before(0, 2000, { changeId: '' })] },
      },
    ],
    [
      'nothing identifies the disk',
      'disk_unidentified',
      {
        disks: [disk(2000, { backingUuid: '' })],
        knownDisks: [{ number: 0, key: 2000, backingUuid: '' }],
        previous: { id: 'p', disks: [before(0, 2000, { backingUuid: '' })] },
      },
    ],
  ];
  it.each(fulls)('reads a disk in full when %s', (_, reason, overrides) => {
    expect(planDisks(request(overrides)).disks[0]).toMatchObject({ type: 'full', reason });
  });

  it('reads every disk in full the first time', () => {
    const { previous: _, ...first } = request();
    expect(planDisks(first).disks).toMatchObject([{ reason: 'first_backup' }, { reason: 'first_backup' }]);
  });

  it('decides disk by disk', () => {
    const { disks } = planDisks(request({ disks: [disk(2000), disk(2001, { capacityBytes: 3 * GIB })] }));
    expect(disks.map(({ type }) => type)).toEqual(['incremental', 'full']);
  });

  it('skips what a snapshot cannot hold, and names it', () => {
    const { disks, skipped } = planDisks(
      request({ disks: [disk(2001, { unsupportedReason: 'independent' }), disk(2000)] }),
    );
    expect(disks.map(({ key }) => key)).toEqual([2000]);
    expect(skipped).toEqual([{ key: 2001, label: 'Hard disk 2001', reason: 'independent' }]);
  });

  it.each([
    ['no disks', [], 'it has no virtual disk'],
    ['only unsupported ones', [disk(2000, { unsupportedReason: 'physical_rdm' })], 'is physical_rdm'],
  ])('refuses a VM with %s', (_, disks, message) => {
    expect(() => planDisks(request({ disks }))).toThrow(
      expect.objectContaining({ code: 'vm_has_no_disks', message: expect.stringContaining(message) }),
    );
  });

  it('expects as much as the last backup of the same type read, and otherwise all of it', () => {
    const last = {
      id: 'p',
      disks: [before(0, 2000), before(1, 2001, { type: 'incremental', bytesRead: 77 })],
    };
    const { disks } = planDisks(request({ previous: last }));
    expect(disks.map(({ expectedBytes }) => expectedBytes)).toEqual([GIB, 77]);
  });

  it('makes hostile VM names safe in paths and exports', () => {
    const [planned] = planDisks(request({ vmName: '../../etc/"x"\n', type: 'full' })).disks;
    expect(planned?.exportName).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]*-disk0$/);
    expect(planned?.imagePath).not.toMatch(/\.\.|\n|"/);
  });
});

describe('assignNumbers', () => {
  it('keeps a known disk’s number when its key changes, and never gives one to another backing', () => {
    const known = [
      { number: 0, key: 2000, backingUuid: 'a' },
      { number: 1, key: 2001, backingUuid: 'b' },
    ];
    const disks = [
      disk(2000, { backingUuid: 'c' }),
      disk(2001, { backingUuid: 'a' }),
      disk(2016, { backingUuid: 'd' }),
    ];
    expect(assignNumbers(disks, known)).toEqual([2, 0, 3]);
  });

  it('keeps two disks of one backing uuid apart by their keys', () => {
    const known = [
      { number: 0, key: 2000, backingUuid: 'same' },
      { number: 1, key: 2016, backingUuid: 'same' },
    ];
    const disks = [disk(2016, { backingUuid: 'same' }), disk(2000, { backingUuid: 'same' })];
    expect(assignNumbers(disks, known)).toEqual([1, 0]);
  });

  it('gives every disk a number of its own, whatever came and went', () => {
    const uuid = fc.constantFrom('', 'a', 'b', 'c', 'd');
    const key = fc.integer({ min: 2000, max: 2006 });
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.record({ number: fc.nat(9), key, backingUuid: uuid }), {
          selector: ({ number }) => number,
        }),
        fc.uniqueArray(
          fc.record({ key, backingUuid: uuid }).map((part) => disk(part.key, part)),
          { selector: (candidate) => candidate.key },
        ),
        (known, disks) => {
          const numbers = assignNumbers(disks, known);
          expect(new Set(numbers).size).toBe(disks.length);
          for (const [index, number] of numbers.entries()) {
            const owner = known.find((candidate) => candidate.number === number);
            if (owner) expect(owner.backingUuid).toBe(disks[index]?.backingUuid);
          }
        },
      ),
    );
  });
});
