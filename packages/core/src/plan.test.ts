import { describe, expect, it } from '@jest/globals';
import {
  diskLayout,
  manifestPath,
  PLAN_REASONS,
  planDisks,
  type PlanReason,
  type PlanRequest,
  type PreviousDisk,
  type VmDisk,
} from './plan.js';

const GIB = 2 ** 30;

function disk(number: number, key: number, overrides: Partial<VmDisk> = {}): VmDisk {
  return {
    diskId: `ctx-disk${number}`,
    number,
    key,
    label: `disk ${key}`,
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
    imagePath: `ctx/disk-${number}/old.qcow2`,
    lastBytesRead: { full: 1000 },
    ...overrides,
  };
}

function request(overrides: Partial<PlanRequest> = {}): PlanRequest {
  return {
    vmName: 'pgtest1',
    type: 'incremental',
    disks: [disk(0, 2000), disk(1, 2001)],
    previous: { id: 'backup-pgtest1-1', disks: [before(0, 2000), before(1, 2001)] },
    ...overrides,
  };
}

describe('planDisks', () => {
  it('reads only the changes of a disk that is in every respect the one of the previous point', () => {
    expect(planDisks(request()).disks[1]).toEqual({
      diskId: 'ctx-disk1',
      number: 1,
      key: 2001,
      label: 'disk 2001',
      backingUuid: 'uuid-2001',
      capacityBytes: GIB,
      expectedBytes: 1000,
      type: 'incremental',
      reason: 'changed_blocks',
      parent: {
        restorePointId: 'backup-pgtest1-1',
        imagePath: 'ctx/disk-1/old.qcow2',
        changeId: '52 aa bb/2001',
      },
    });
  });

  const previous = (...disks: PreviousDisk[]) => ({ previous: { id: 'p', disks } });
  const fulls: [string, PlanReason, Partial<PlanRequest>][] = [
    ['a full was asked for', 'requested', { type: 'full' }],
    ['there is no previous point', 'first_backup', { previous: undefined }],
    ['it is new', 'disk_added', { disks: [disk(2, 2016)] }],
    ['another disk has its place', 'disk_replaced', { disks: [disk(2, 2000, { backingUuid: 'another' })] }],
    [
      'the catalogue’s number shows another backing',
      'disk_replaced',
      { disks: [disk(0, 2000, { backingUuid: 'x' })] },
    ],
    [
      'it moved to another controller',
      'disk_moved',
      { disks: [disk(2, 2016, { backingUuid: 'uuid-2000' })] },
    ],
    ['it grew', 'disk_resized', { disks: [disk(0, 2000, { capacityBytes: 2 * GIB })] }],
    ['it shrank', 'disk_resized', { disks: [disk(0, 2000, { capacityBytes: GIB - 512 })] }],
    ['the image to build on is gone', 'parent_missing', previous(before(0, 2000, { missing: true }))],
    ['the point to build on is in doubt', 'parent_suspect', previous(before(0, 2000, { suspect: true }))],
    ['it had no changeId', 'no_change_id', previous(before(0, 2000, { changeId: undefined }))],
    ['its changeId was empty', 'no_change_id', previous(before(0, 2000, { changeId: '' }))],
    [
      'nothing identifies it',
      'disk_unidentified',
      {
        disks: [disk(0, 2000, { backingUuid: '' })],
        ...previous(before(0, 2000, { backingUuid: '' })),
      },
    ],
  ];
  it.each(fulls)('reads a disk in full when %s', (_, reason, overrides) => {
    expect(planDisks(request(overrides)).disks[0]).toMatchObject({ type: 'full', reason });
  });

  it('has a row above for each reason that is known before the backup', () => {
    // These show only when vCenter is asked, while the backup runs.
    const later: PlanReason[] = [
      'change_tracking_off',
      'change_id_stale',
      'change_id_foreign',
      'disk_reverted',
      'changed_areas_invalid',
    ];
    const covered = new Set([...fulls.map(([, reason]) => reason), ...later, 'changed_blocks']);
    expect(covered).toEqual(new Set(Object.keys(PLAN_REASONS)));
  });

  it('decides disk by disk', () => {
    const { disks } = planDisks(
      request({ disks: [disk(0, 2000), disk(1, 2001, { capacityBytes: 3 * GIB })] }),
    );
    expect(disks.map(({ type }) => type)).toEqual(['incremental', 'full']);
  });

  it('orders disks by their keys', () => {
    const { disks } = planDisks(request({ disks: [disk(0, 2016), disk(2, 2000), disk(1, 2001)] }));
    expect(disks.map(({ key, number }) => [key, number])).toEqual([
      [2000, 2],
      [2001, 1],
      [2016, 0],
    ]);
  });

  it('skips what a snapshot cannot hold, and names it', () => {
    const { disks, skipped } = planDisks(
      request({ disks: [disk(1, 2001, { unsupportedReason: 'independent' }), disk(0, 2000)] }),
    );
    expect(disks.map(({ key }) => key)).toEqual([2000]);
    expect(skipped).toEqual([
      {
        diskId: 'ctx-disk1',
        number: 1,
        key: 2001,
        label: 'disk 2001',
        capacityBytes: GIB,
        reason: 'independent',
      },
    ]);
  });

  it.each([
    ['no disks', [], 'it has no virtual disk'],
    ['only unsupported ones', [disk(0, 2000, { unsupportedReason: 'physical_rdm' })], 'is physical_rdm'],
  ])('refuses a VM with %s', (_, disks, message) => {
    expect(() => planDisks(request({ disks }))).toThrow(
      expect.objectContaining({ code: 'vm_has_no_disks', message: expect.stringContaining(message) }),
    );
  });

  it('expects as much as the last backup of the same type read, and otherwise the upper bound that is known', () => {
    const lastBytesRead = { full: 1000, incremental: 77 };
    const last = [
      before(0, 2000),
      before(1, 2001, { lastBytesRead }),
      before(2, 2002, { lastBytesRead: { incremental: 5 * GIB } }),
      before(3, 2003, { lastBytesRead, suspect: true }),
    ];
    const disks = [disk(0, 2000), disk(1, 2001), disk(2, 2002), disk(3, 2003), disk(4, 2004)];
    const planned = planDisks(request({ disks, ...previous(...last) })).disks;
    expect(planned.map(({ expectedBytes }) => expectedBytes)).toEqual([1000, 77, GIB, 1000, GIB]);
  });
});

describe('diskLayout', () => {
  const contextId = 'ctx-pgtest1-20261121-080000';

  it('names directories, images and exports as people know them', () => {
    const backupId = 'backup-pgtest1-20261121-084316';
    expect(diskLayout({ contextId, vmName: 'pgtest1', backupId, number: 1 })).toEqual({
      exportName: 'pgtest1-disk1',
      directory: `${contextId}/disk-1`,
      imagePath: `${contextId}/disk-1/backup-pgtest1-disk1-20261121-084316.qcow2`,
      hashesPath: `${contextId}/disk-1/backup-pgtest1-disk1-20261121-084316.hashes`,
    });
    expect(manifestPath(contextId, backupId)).toBe(`${contextId}/manifests/${backupId}.json`);
  });

  it('keeps two backups of one second apart', () => {
    const [first, second] = ['', '-2'].map((suffix) =>
      diskLayout({ contextId, vmName: 'pg', backupId: `backup-pg-20261121-084316${suffix}`, number: 0 }),
    );
    expect(second?.imagePath).toBe(`${contextId}/disk-0/backup-pg-disk0-20261121-084316-2.qcow2`);
    expect(first?.imagePath).not.toBe(second?.imagePath);
  });

  it('is safe with hostile names of VMs', () => {
    const layout = diskLayout({ contextId, vmName: '../../etc/"x"\n', backupId: '../x', number: 0 });
    expect(layout.exportName).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]*-disk0$/);
    expect(layout.imagePath).toMatch(/^ctx-[a-z0-9-]+\/disk-0\/[A-Za-z0-9._-]+\.qcow2$/);
  });
});
