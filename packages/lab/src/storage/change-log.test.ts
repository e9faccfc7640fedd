import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { ChangeLog } from './change-log.js';
import { CHUNK_GRAINS, GRAIN_BYTES } from './grain-map.js';

// Around the border between two pieces of the map, with a partial last grain.
const FIRST = (CHUNK_GRAINS - 20) * GRAIN_BYTES;
const SIZE = FIRST + 40 * GRAIN_BYTES + 512;

const change = fc
  .record({
    offset: fc.integer({ min: FIRST, max: SIZE - 1 }),
    length: fc.nat(3 * GRAIN_BYTES),
    epoch: fc.integer({ min: 1, max: 5 }),
  })
  .map(({ offset, length, epoch }) => ({
    epoch,
    extent: { offset, length: Math.min(length, SIZE - offset) },
  }));

function grainsOf({ offset, length }: { offset: number; length: number }): number[] {
  const grains = [];
  for (let at = Math.floor(offset / GRAIN_BYTES); at * GRAIN_BYTES < offset + length; at++) grains.push(at);
  return length === 0 ? [] : grains;
}

describe('the record of changes', () => {
  it('answers for any two epochs with exactly the grains that were written between them, also after a restart', async () => {
    using folder = temporaryDirectory();
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 25 }), async (changes) => {
        const directory = `${folder.path}/${run++}`;
        const log = ChangeLog.open(directory, 'a');
        for (const { epoch, extent } of changes) log.record(epoch, extent);
        log.close();
        const reopened = ChangeLog.open(directory, 'a');
        for (let after = 0; after <= 5; after++) {
          for (let upTo = after; upTo <= 5; upTo++) {
            const expected = new Set(
              changes
                .filter(({ epoch }) => epoch > after && epoch <= upTo)
                .flatMap(({ extent }) => grainsOf(extent)),
            );
            const areas = reopened.changed(after, upTo, SIZE);
            expect(areas).toEqual(log.changed(after, upTo, SIZE));
            expect(new Set(areas.flatMap(grainsOf))).toEqual(expected);
            for (const [index, { offset, length }] of areas.entries()) {
              expect(offset + length).toBeLessThanOrEqual(SIZE);
              const next = areas[index + 1];
              if (next) expect(offset + length).toBeLessThan(next.offset);
            }
          }
        }
        reopened.discard();
      }),
      { numRuns: 30 },
    );
  });

  it('answers from an offset on with no more areas than asked for', () => {
    using folder = temporaryDirectory();
    const log = ChangeLog.open(folder.path, 'a');
    for (const grain of [0, 1, 3, CHUNK_GRAINS - 1, CHUNK_GRAINS, CHUNK_GRAINS + 2])
      log.record(1, { offset: grain * GRAIN_BYTES, length: 1 });
    const grains = (window: { from?: number; most?: number }) =>
      log
        .changed(0, 1, SIZE, window)
        .map(({ offset, length }) => [offset / GRAIN_BYTES, length / GRAIN_BYTES]);
    const across = [CHUNK_GRAINS - 1, 2];
    expect(grains({ most: 2 })).toEqual([
      [0, 2],
      [3, 1],
    ]);
    expect(grains({ from: GRAIN_BYTES + 5, most: 3 })).toEqual([[1, 1], [3, 1], across]);
    expect(grains({ from: CHUNK_GRAINS * GRAIN_BYTES })).toEqual([
      [CHUNK_GRAINS, 1],
      [CHUNK_GRAINS + 2, 1],
    ]);
    expect(grains({ from: SIZE - 1 })).toEqual([]);
    log.discard();
  });
});
