import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  formatManifest,
  MANIFEST_SCHEMA,
  parseManifest,
  type Manifest,
  type ManifestDisk,
} from './manifest.js';

function disk(number: number, overrides: Partial<ManifestDisk> = {}): ManifestDisk {
  const folder = `ctx-pgtest1-1/disk-${number}`;
  return {
    disk_id: `ctx-pgtest1-1-disk${number}`,
    disk_number: number,
    disk_key: 2000 + number,
    label: `Hard disk ${number + 1}`,
    backing_uuid: `uuid-${number}`,
    backing_file: `[ds] pgtest1/pgtest1_${number}.vmdk`,
    capacity_bytes: 2 ** 40,
    backup_type: 'full',
    reason: 'first_backup',
    image: `${folder}/backup-pgtest1-disk${number}-20261121-084316.qcow2`,
    image_format: 'qcow2',
    stored_bytes: 4096,
    hashes: `${folder}/backup-pgtest1-disk${number}-20261121-084316.hashes`,
    parent: null,
    change_id: '52 de ad/4',
    extent_source: 'allocated_areas',
    bytes_read: 10,
    bytes_written: 9,
    bytes_zeroed: 1,
    ...overrides,
  };
}

function manifest(overrides: Partial<Manifest> = {}): Manifest {
  return {
    schema: MANIFEST_SCHEMA,
    engine: '0.1.0 (abc)',
    backup_id: 'backup-pgtest1-20261121-084316',
    context_id: 'ctx-pgtest1-1',
    repository_id: 'repo-local-1',
    node_name: 'berlin',
    vm: { name: 'pgtest1 🙂\n"', instance_uuid: 'i', moref: 'vm-57', guest_full_name: '' },
    vcenter: 'vcenter.example',
    requested_type: 'full',
    created_at: '2026-11-21T08:43:16.000Z',
    taken_at: '2026-11-21T08:43:17.123Z',
    sealed_at: '2026-11-21T08:50:00.000Z',
    snapshot: { moref: 'snapshot-1', name: 'sendense-x' },
    quiesce: { requested: true, done: false, note: 'no Tools' },
    change_tracking: 'already_enabled',
    foreign_snapshots: 0,
    warnings: [{ code: 'not_quiesced', message: 'x' }],
    skipped_disks: [{ disk_number: 2, disk_key: 2016, label: 'x', reason: 'independent' }],
    disks: [disk(0), disk(1)],
    ...overrides,
  };
}

const reading = (value: unknown) => () =>
  parseManifest(typeof value === 'string' ? value : JSON.stringify(value), 'm.json');
const refusal = (why: string) =>
  expect.objectContaining({ code: 'manifest_invalid', message: expect.stringContaining(why) });

describe('manifest', () => {
  it('is read as it was written', () => {
    expect(parseManifest(formatManifest(manifest()), 'm.json')).toEqual(manifest());
  });

  it('may carry fields of a later build of the same version', () => {
    expect(reading({ ...manifest(), more: 1 })).not.toThrow();
  });

  const parent = { backup_id: 'b', image: 'ctx-pgtest1-1/disk-0/older.qcow2' };
  it('names the parent of an incremental disk', () => {
    const value = manifest({ disks: [disk(0, { backup_type: 'incremental', parent })] });
    expect(parseManifest(formatManifest(value), 'm')).toEqual(value);
  });

  const wrong: [string, unknown, string][] = [
    ['no JSON', '{"schema":', 'it is not JSON'],
    ['something else', '[]', 'it names no schema'],
    ['null', 'null', 'it names no schema'],
    [
      'a later version',
      { ...manifest(), schema: 'sendense-manifest/2' },
      "its schema is 'sendense-manifest/2'",
    ],
    ['a missing field', { ...manifest(), vm: undefined }, 'vm'],
    ['no disks', manifest({ disks: [] }), '/disks'],
    ['a negative size', manifest({ disks: [disk(0, { capacity_bytes: -1 })] }), '/disks/0/capacity_bytes'],
    [
      'a size that is no integer',
      manifest({ disks: [disk(0, { stored_bytes: 0.5 })] }),
      '/disks/0/stored_bytes',
    ],
    ['no time', manifest({ taken_at: 'yesterday' }), '/taken_at'],
    ['an impossible time', manifest({ taken_at: '2026-13-41T08:43:17.123Z' }), 'is no time'],
    ['one disk twice', manifest({ disks: [disk(0), disk(0)] }), 'two disks have one disk_number'],
    ['one image twice', manifest({ disks: [disk(0), { ...disk(1), image: disk(0).image }] }), 'one image'],
    ['a path outside', manifest({ disks: [disk(0, { image: '../x.qcow2' })] }), 'is not in'],
    ['an absolute path', manifest({ disks: [disk(0, { hashes: '/etc/passwd' })] }), 'is not in'],
    [
      'a path that climbs',
      manifest({ disks: [disk(0, { image: 'ctx-pgtest1-1/disk-0/../../x.qcow2' })] }),
      'is not in',
    ],
    ['a folder as image', manifest({ disks: [disk(0, { image: 'ctx-pgtest1-1/disk-0/' })] }), 'is not in'],
    [
      'another name',
      manifest({ disks: [disk(0, { image: 'ctx-pgtest1-1/disk-0/x.raw' })] }),
      'not named as an image',
    ],
    [
      'a context that climbs',
      manifest({ context_id: '..', disks: [disk(0, { image: '../disk-0/x.qcow2' })] }),
      'is not in',
    ],
    [
      'an incremental without parent',
      manifest({ disks: [disk(0, { backup_type: 'incremental' })] }),
      'without a parent',
    ],
    ['a full with parent', manifest({ disks: [disk(0, { parent })] }), 'has a parent'],
    [
      'a parent elsewhere',
      manifest({ disks: [disk(0, { backup_type: 'incremental', parent: { ...parent, image: '/x' } })] }),
      'is not in',
    ],
    [
      'its own parent',
      manifest({
        disks: [disk(0, { backup_type: 'incremental', parent: { ...parent, image: disk(0).image } })],
      }),
      'its own parent',
    ],
  ];
  it.each(wrong)('refuses %s', (_, value, why) => {
    expect(reading(value)).toThrow(refusal(why));
  });

  it('refuses anything damaged with a clear error, and never takes a path outside its folder', () => {
    const text = formatManifest(
      manifest({ disks: [disk(0, { backup_type: 'incremental', parent }), disk(1)] }),
    );
    const cut = fc.nat(text.length).map((at) => text.slice(0, at));
    const flipped = fc
      .tuple(fc.nat(text.length - 1), fc.string({ minLength: 1, maxLength: 3 }))
      .map(([at, by]) => text.slice(0, at) + by + text.slice(at + by.length));
    const replaced = fc.tuple(fc.nat(1000), fc.anything()).map(([pick, by]) => replaceValue(text, pick, by));
    fc.assert(
      fc.property(fc.oneof(cut, flipped, replaced, fc.json(), fc.string()), (damaged) => {
        try {
          for (const { image, hashes, parent: base } of parseManifest(damaged, 'm').disks)
            for (const path of [image, hashes, base?.image ?? image])
              expect(path.split('/').some((part) => part === '..' || part === '')).toBe(false);
        } catch (error) {
          expect(error).toMatchObject({ code: 'manifest_invalid' });
        }
      }),
      { numRuns: 3000 },
    );
  });
});

/** The JSON text with one of its values, wherever it lies, exchanged. */
function replaceValue(text: string, pick: number, by: unknown): string {
  let count = 0;
  const total = text.split('":').length - 1;
  const json = JSON.stringify(JSON.parse(text), (_key, value: unknown) =>
    count++ === pick % total ? by : value,
  );
  return json ?? '';
}
