import { describe, expect, test } from '@jest/globals';
import { snapshotDisks, virtualDisks } from '../src/disks.js';
import { flattenSnapshots } from '../src/snapshot-tree.js';
import { parseXml } from '../src/soap/xml.js';
import { pyvmomiReplies } from './fixtures.js';

const GIB = 2 ** 30;

function devices(xml: string) {
  return parseXml(`<val xmlns:xsi="i">${xml}</val>`).children;
}

function disk(content: string): string {
  return `<VirtualDevice xsi:type="VirtualDisk">${content}</VirtualDevice>`;
}

describe('the disks of a VM', () => {
  const all = parseXml(pyvmomiReplies['devices']!).children;

  test('every kind of backing, as pyvmomi writes it', () => {
    const found = virtualDisks(all);
    expect(
      found.map((d) => [d.key, d.controllerKey, d.unitNumber, d.capacityBytes, d.thinProvisioned]),
    ).toEqual([
      [2000, 1000, 0, 102 * GIB, true],
      [2001, 1000, 1, 5 * GIB, true],
      [2002, 1000, 2, 102 * GIB, false],
      [2003, 1000, 3, 102 * GIB, false],
      [2004, 1000, 4, 102 * GIB, false],
      [2005, 1000, 5, 102 * GIB, false],
      [2016, 1001, 0, 102 * GIB, false],
      [2017, 31_000, 0, 102 * GIB, false],
    ]);
    expect(found[0]).toEqual({
      key: 2000,
      label: 'Hard disk 1',
      backingUuid: '6000C290-0000-0000-0000-000000002000',
      backingFile: '[fast] pgtest1/pgtest1-000001.vmdk',
      datastore: 'fast',
      capacityBytes: 102 * GIB,
      controllerKey: 1000,
      unitNumber: 0,
      thinProvisioned: true,
      changeId: '52 de ad be ef 00 11 22-33 44 55 66 77 88 99 aa/42',
    });
  });

  test('those that no snapshot holds are named with the reason', () => {
    expect(
      virtualDisks(all).flatMap((d) => (d.unsupportedReason ? [[d.key, d.unsupportedReason]] : [])),
    ).toEqual([
      [2002, 'independent'],
      [2003, 'physical_rdm'],
      [2005, 'shared'],
      [2016, 'shared'],
    ]);
  });

  test('the changeIds of a snapshot, where the disk is tracked', () => {
    expect(snapshotDisks(all).map((d) => [d.key, d.changeId])).toEqual([
      [2000, '52 de ad be ef 00 11 22-33 44 55 66 77 88 99 aa/42'],
      [2001, '52 01/1'],
      [2002, undefined],
      [2003, undefined],
      [2004, '52 04/1'],
      [2005, undefined],
      [2016, undefined],
      [2017, undefined],
    ]);
    expect(snapshotDisks(all)[0]).toMatchObject({ fileName: '[fast] pgtest1/pgtest1-000001.vmdk' });
  });

  test('the same unit on two controllers stays two disks', () => {
    const found = virtualDisks(all).filter((d) => d.unitNumber === 0);
    expect(found.map((d) => d.key)).toEqual([2000, 2016, 2017]);
  });

  test('without capacityInBytes the KiB count; with a wrong one of zero, too', () => {
    const backing = '<backing xsi:type="VirtualDiskFlatVer2BackingInfo"><fileName>[d] a</fileName></backing>';
    for (const bytes of ['', '<capacityInBytes>0</capacityInBytes>']) {
      const [found] = virtualDisks(
        devices(disk(`<key>203</key>${backing}<capacityInKB>10485761</capacityInKB>${bytes}`)),
      );
      expect(found?.capacityBytes).toBe(10_485_761 * 1024);
    }
    expect(() => virtualDisks(devices(disk(`<key>203</key>${backing}`)))).toThrow(/capacity of disk 203/);
  });

  test('a disk without a file cannot be opened', () => {
    const raw = disk(
      '<key>2000</key><backing xsi:type="VirtualDiskRawDiskVer2BackingInfo"><descriptorFileName>x</descriptorFileName></backing><capacityInKB>1</capacityInKB>',
    );
    expect(virtualDisks(devices(raw))[0]).toMatchObject({
      unsupportedReason: 'unsupported_backing',
      datastore: '',
      label: 'disk 2000',
    });
  });
});

describe('the snapshots of a VM', () => {
  test('the tree is flattened, parents before children', () => {
    const found = flattenSnapshots(parseXml(pyvmomiReplies['snapshots']!));
    expect(found.map((s) => s.moref)).toEqual([
      'snapshot-1',
      'snapshot-2',
      'snapshot-3',
      'snapshot-4',
      'snapshot-5',
    ]);
    expect(found[2]).toEqual({
      moref: 'snapshot-3',
      name: 'snapshot <3>',
      description: 'of 3 & more\n',
      createdAt: new Date('2026-11-21T08:43:03Z'),
      quiesced: true,
    });
  });

  test('none at all', () => {
    expect(flattenSnapshots(undefined)).toEqual([]);
  });
});
