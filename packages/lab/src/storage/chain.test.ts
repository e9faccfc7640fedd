import { mkdtempSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { Chain } from './chain.js';
import { GRAIN_BYTES } from './grain-map.js';
import { Layer } from './layer.js';

// Four grains and a bit, so that the last one is partial.
const SIZE = 4 * GRAIN_BYTES + 1536;

const place = fc
  .record({ offset: fc.nat(SIZE), length: fc.oneof(fc.nat(3000), fc.nat(SIZE), fc.constant(GRAIN_BYTES)) })
  .map(({ offset, length }) => ({ offset, length: Math.min(length, SIZE - offset) }));
/** Half of the places start and end on grains, where the cheap paths are. */
const aligned = place.map(({ offset, length }) => {
  const start = Math.floor(offset / GRAIN_BYTES) * GRAIN_BYTES;
  return { offset: start, length: Math.min(Math.ceil(length / GRAIN_BYTES) * GRAIN_BYTES, SIZE - start) };
});
const step = fc.oneof(
  fc.record({
    kind: fc.constant('write' as const),
    at: fc.oneof(place, aligned),
    fill: fc.integer({ min: 1, max: 255 }),
  }),
  fc.record({ kind: fc.constant('zero' as const), at: fc.oneof(place, aligned) }),
  fc.record({ kind: fc.constant('freeze' as const) }),
  fc.record({ kind: fc.constant('merge' as const), which: fc.nat(10) }),
);

/** A disk under test beside a plain buffer, and the copies of both at every freeze. */
class Model {
  readonly content = Buffer.alloc(SIZE);
  readonly written = new Set<number>();
  readonly frozen: { readonly layers: readonly Layer[]; readonly content: Buffer }[] = [];
  #nextId = 1;

  private constructor(
    private readonly directory: string,
    private layers: Layer[],
  ) {}

  static async create(parent: string): Promise<Model> {
    const directory = mkdtempSync(`${parent}/`);
    return new Model(directory, [Layer.create(directory, 'base', SIZE)]);
  }

  get chain(): Chain {
    return new Chain(this.layers, SIZE);
  }

  async write(offset: number, data: Buffer): Promise<void> {
    this.chain.write(offset, data);
    data.copy(this.content, offset);
    this.#note(offset, data.length);
  }

  async zero(offset: number, length: number): Promise<void> {
    await this.chain.zero(offset, length);
    this.content.fill(0, offset, offset + length);
    this.#note(offset, length);
  }

  async freeze(): Promise<void> {
    this.frozen.push({ layers: [...this.layers], content: Buffer.from(this.content) });
    this.layers = [...this.layers, Layer.create(this.directory, `delta-${this.#nextId++}`, SIZE)];
  }

  /** Merges a layer into the one below, as removing the snapshot between them does. */
  async merge(which: number): Promise<void> {
    if (this.layers.length < 2) return;
    const at = 1 + (which % (this.layers.length - 1));
    const [into, from] = [this.layers[at - 1]!, this.layers[at]!];
    await new Chain([from], SIZE).copyInto(new Chain([into], SIZE));
    this.layers = this.layers.filter((layer) => layer !== from);
    // Only what was frozen right there is lost; what was frozen later consists of the merged layer now.
    for (const [index, { layers, content }] of [...this.frozen.entries()].toReversed()) {
      if (layers.at(-1) === into) this.frozen.splice(index, 1);
      else this.frozen[index] = { layers: layers.filter((layer) => layer !== from), content };
    }
    from.discard();
  }

  async close(): Promise<void> {
    for (const layer of this.layers) layer.discard();
  }

  #note(offset: number, length: number): void {
    if (length === 0) return;
    for (let grain = Math.floor(offset / GRAIN_BYTES); grain * GRAIN_BYTES < offset + length; grain++) {
      this.written.add(grain);
    }
  }
}

describe('a chain of layers', () => {
  it('reads what a plain buffer would, now and as it was frozen, whatever was merged meanwhile', async () => {
    using folder = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
        const model = await Model.create(folder.path);
        for (const one of steps) {
          if (one.kind === 'write') await model.write(one.at.offset, Buffer.alloc(one.at.length, one.fill));
          if (one.kind === 'zero') await model.zero(one.at.offset, one.at.length);
          if (one.kind === 'freeze') await model.freeze();
          if (one.kind === 'merge') await model.merge(one.which);
        }
        expect(model.chain.read(0, SIZE).equals(model.content)).toBe(true);
        for (const { layers, content } of model.frozen) {
          expect(new Chain(layers, SIZE).read(0, SIZE).equals(content)).toBe(true);
        }
        await model.close();
      }),
      { numRuns: 60 },
    );
  });

  it('calls exactly those grains allocated that were written, zeros included, cut at the end of the disk', async () => {
    using folder = temporaryDirectory();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 10 }), async (steps) => {
        const model = await Model.create(folder.path);
        for (const one of steps) {
          if (one.kind === 'write') await model.write(one.at.offset, Buffer.alloc(one.at.length, one.fill));
          if (one.kind === 'zero') await model.zero(one.at.offset, one.at.length);
          if (one.kind === 'freeze') await model.freeze();
        }
        const allocated = new Set<number>();
        for (const { offset, length } of model.chain.allocated()) {
          expect(offset % GRAIN_BYTES).toBe(0);
          expect(offset + length === SIZE || length % GRAIN_BYTES === 0).toBe(true);
          for (let at = offset; at < offset + length; at += GRAIN_BYTES) allocated.add(at / GRAIN_BYTES);
        }
        expect(allocated).toEqual(model.written);
        await model.close();
      }),
      { numRuns: 40 },
    );
  });

  it('comes back from its files as it was', async () => {
    using folder = temporaryDirectory();
    const layer = Layer.create(folder.path, 'one', SIZE);
    const chain = new Chain([layer], SIZE);
    chain.write(GRAIN_BYTES - 5, Buffer.from('over the edge'));
    await chain.zero(3 * GRAIN_BYTES, SIZE - 3 * GRAIN_BYTES);
    layer.close();
    const loaded = Layer.load(folder.path, 'one');
    const again = new Chain([loaded], SIZE);
    expect(again.read(GRAIN_BYTES - 5, 13).toString()).toBe('over the edge');
    expect([...again.allocated()]).toEqual([...chain.allocated()]);
    loaded.close();
  });
});
