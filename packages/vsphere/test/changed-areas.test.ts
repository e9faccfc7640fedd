import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { mergeExtents, type Extent } from '@sendense/core';
import { requires } from '@sendense/runtime/testing';
import type { VSphereSession } from '../src/types.js';
import { drop, fault, hang, values, type Answer } from './answers.js';
import { connectTo, failureOf } from './connect.js';
import { pyvmomiReplies } from './fixtures.js';
import { ScriptedVCenter } from './scripted-vcenter.js';

const describeScripted = requires(describe, 'openssl');
const MIB = 2 ** 20;

let vcenter: ScriptedVCenter;
let session: VSphereSession;
beforeEach(async () => {
  vcenter = await ScriptedVCenter.start();
  session = await connectTo(vcenter);
});
afterEach(async () => {
  await session[Symbol.asyncDispose]();
  await vcenter[Symbol.asyncDispose]();
});

function reply(startOffset: number | string, length: number | string, areas: readonly Extent[] = []): Answer {
  const changed = areas.map(
    (area) => `<changedArea><start>${area.offset}</start><length>${area.length}</length></changedArea>`,
  );
  return values(
    `<returnval><startOffset>${startOffset}</startOffset><length>${length}</length>${changed.join('')}</returnval>`,
  );
}

async function query(capacityBytes: number, signal?: AbortSignal): Promise<Extent[]> {
  const request = { vmMoref: 'vm-57', snapshotMoref: 'snapshot-90', diskKey: 2000, changeId: '52 ab/7' };
  return session.changedAreas({ ...request, capacityBytes, ...(signal ? { signal } : {}) });
}

function askedOffsets(): number[] {
  return vcenter.requests
    .filter((request) => request.method === 'QueryChangedDiskAreas')
    .map((request) => Number(request.element.child('startOffset')?.text));
}

describeScripted('changed areas', () => {
  test('one reply, as pyvmomi writes it', async () => {
    vcenter.on('QueryChangedDiskAreas', values(pyvmomiReplies['changed_areas']!));
    expect(await query(MIB)).toEqual([
      { offset: 0, length: 65_536 },
      { offset: 131_072, length: 65_536 },
    ]);
    const { element, target } = vcenter.requests.at(-1)!;
    expect(target).toBe('vm-57');
    expect(element.children.slice(1).map((child) => [child.name, child.text])).toEqual([
      ['snapshot', 'snapshot-90'],
      ['deviceKey', '2000'],
      ['startOffset', '0'],
      ['changeId', '52 ab/7'],
    ]);
  });

  test('the next offset comes from the reply, and an empty reply is not the last', async () => {
    vcenter.on(
      'QueryChangedDiskAreas',
      reply(0, 3 * MIB, [{ offset: 0, length: MIB }]),
      reply(3 * MIB, MIB),
      reply(4 * MIB, 2 * MIB, [{ offset: 5 * MIB, length: MIB }]),
    );
    expect(await query(6 * MIB)).toEqual([
      { offset: 0, length: MIB },
      { offset: 5 * MIB, length: MIB },
    ]);
    expect(askedOffsets()).toEqual([0, 3 * MIB, 4 * MIB]);
  });

  test('areas are sorted, joined where they touch or overlap, and cut at the end of the disk', async () => {
    const capacity = 4 * MIB + 512;
    vcenter.on(
      'QueryChangedDiskAreas',
      reply(0, 2 * MIB, [
        { offset: 65_536, length: MIB },
        { offset: 0, length: 131_072 },
        { offset: MIB + 65_536, length: MIB - 65_536 },
      ]),
      reply(2 * MIB, capacity - 2 * MIB, [{ offset: 4 * MIB, length: 65_536 }]),
    );
    expect(await query(capacity)).toEqual([
      { offset: 0, length: 2 * MIB },
      { offset: 4 * MIB, length: 512 },
    ]);
  });

  test('a reply of very many areas', async () => {
    const areas = Array.from({ length: 10_000 }, (_, index) => ({ offset: index * 131_072, length: 65_536 }));
    vcenter.on('QueryChangedDiskAreas', reply(0, 10_000 * 131_072, areas));
    expect(await query(10_000 * 131_072)).toEqual(areas);
  });

  test.each<[string, Answer[], RegExp]>([
    ['another offset than asked', [reply(65_536, MIB - 65_536)], /it starts at 65536/],
    ['the first page again and again', [reply(0, 65_536)], /it starts at 0/],
    ['nothing', [reply(0, 0)], /covers nothing/],
    ['nothing, later', [reply(0, 65_536), reply(65_536, 0)], /covers nothing/],
    ['more than the disk', [reply(0, MIB + 512)], /behind the end of the disk/],
    ['more than the disk, later', [reply(0, MIB - 512), reply(MIB - 512, 1024)], /behind the end/],
    [
      'an area before its range',
      [reply(0, 65_536), reply(65_536, MIB - 65_536, [{ offset: 0, length: 1 }])],
      /not inside/,
    ],
    ['an area behind its range', [reply(0, 65_536, [{ offset: 65_536, length: 65_536 }])], /not inside/],
    ['an area that leaves its range', [reply(0, 65_536, [{ offset: 0, length: 65_537 }])], /not inside/],
    ['an area far over the end', [reply(0, MIB, [{ offset: 0, length: 2 * MIB }])], /not inside/],
    ['an area behind the end', [reply(0, MIB, [{ offset: MIB, length: 512 }])], /not inside/],
    ['an empty area', [reply(0, MIB, [{ offset: 0, length: 0 }])], /not inside/],
  ])('a reply that covers %s is not trusted', async (_what, answers, message) => {
    vcenter.on('QueryChangedDiskAreas', ...answers);
    const error = await failureOf(query(MIB));
    expect(error.code).toBe('changed_areas_invalid');
    expect(error.message).toMatch(message);
    expect(error.context).toMatchObject({ vm_moref: 'vm-57', disk_key: '2000', capacity_bytes: String(MIB) });
  });

  test.each<[string, Answer]>([
    ['no returnval', values()],
    ['no length', values('<returnval><startOffset>0</startOffset></returnval>')],
    ['a negative offset', reply(-1, MIB)],
    ['a fraction', reply(0, '1.5')],
    ['more than can be counted', reply(0, '9223372036854775807')],
  ])('a reply with %s is malformed', async (_what, answer) => {
    vcenter.on('QueryChangedDiskAreas', answer);
    expect((await failureOf(query(MIB))).code).toBe('vcenter_protocol');
  });

  test.each([
    ['fault_file_fault', 'FileFault', 'Error caused by file /vmfs/a-ctk.vmdk'],
    ['fault_invalid_change_id', 'InvalidArgument', 'A specified parameter was not correct: changeId'],
  ])('%s: take a full, and the fault says why', async (recorded, name, message) => {
    vcenter.on('QueryChangedDiskAreas', { fault: name, message, detail: pyvmomiReplies[recorded]! });
    const error = await failureOf(query(MIB));
    expect(error.code).toBe('changed_areas_unavailable');
    expect(error.context).toMatchObject({ fault: name, fault_message: message });
    expect(error.message).toContain(message);
  });

  test.each(['ManagedObjectNotFound', 'NoPermission', 'HostNotConnected'])(
    '%s says nothing about change tracking',
    async (name) => {
      vcenter.on('QueryChangedDiskAreas', fault(name));
      const error = await failureOf(query(MIB));
      expect(error).toMatchObject({ code: 'vcenter_fault', retryable: name === 'HostNotConnected' });
    },
  );

  test('a session that expires between two pages is renewed', async () => {
    vcenter.on(
      'QueryChangedDiskAreas',
      () => {
        vcenter.expireSessions();
        return reply(0, 65_536, [{ offset: 0, length: 512 }]);
      },
      reply(65_536, MIB - 65_536, [{ offset: 65_536, length: 512 }]),
    );
    expect(await query(MIB)).toHaveLength(2);
    expect(vcenter.logins).toBe(2);
  });

  test('a connection that breaks between two pages', async () => {
    vcenter.on('QueryChangedDiskAreas', reply(0, 65_536), drop);
    expect((await failureOf(query(MIB))).code).toBe('vcenter_unreachable');
  });

  test('a query that takes its time can be cancelled', async () => {
    const stop = new AbortController();
    vcenter.on('QueryChangedDiskAreas', reply(0, 65_536), {
      act: () => {
        stop.abort();
      },
    });
    expect((await failureOf(query(MIB, stop.signal))).code).toBe('cancelled');
    vcenter.on('QueryChangedDiskAreas', hang);
    expect((await failureOf(query(MIB, AbortSignal.abort()))).code).toBe('cancelled');
  });

  test.each([0, -1, 1.5, Number.NaN])(
    'a capacity of %p is refused before anything is asked',
    async (capacity) => {
      expect((await failureOf(query(capacity))).code).toBe('invalid_argument');
      expect(askedOffsets()).toEqual([]);
    },
  );

  test('however an honest server cuts its pages, the same areas come out', async () => {
    const capacity = 4096;
    const area = fc.record({ offset: fc.nat(capacity - 1), length: fc.integer({ min: 1, max: 300 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(area, { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 900 })),
        async (areas, cuts) => {
          const changed = mergeExtents(areas).flatMap(({ offset, length }) => {
            return offset < capacity ? [{ offset, length: Math.min(length, capacity - offset) }] : [];
          });
          let page = 0;
          vcenter.on('QueryChangedDiskAreas', (request) => {
            const start = Number(request.element.child('startOffset')?.text);
            const end = Math.min(capacity, start + (cuts[page++ % Math.max(cuts.length, 1)] ?? capacity));
            const inside = changed.flatMap(({ offset, length }) => {
              const from = Math.max(offset, start);
              const to = Math.min(offset + length, end);
              return from < to ? [{ offset: from, length: to - from }] : [];
            });
            return reply(start, end - start, inside);
          });
          expect(await query(capacity)).toEqual(changed);
        },
      ),
      { numRuns: 40 },
    );
  });
});
