import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Chain } from './chain.js';
import { Layer } from './layer.js';

/** All layers of the lab, each opened once, when it is first needed. */
export class LayerStore {
  readonly #layers = new Map<string, Promise<Layer>>();

  constructor(
    private readonly directory: string,
    /** The next number that no layer has had yet. */
    private readonly nextNumber: () => number,
  ) {}

  async prepare(): Promise<void> {
    await mkdir(this.directory, { recursive: true });
  }

  async create(sizeBytes: number): Promise<Layer> {
    const id = `layer-${String(this.nextNumber()).padStart(6, '0')}`;
    const layer = Layer.create(this.directory, id, sizeBytes);
    this.#layers.set(id, layer);
    return layer;
  }

  async get(id: string): Promise<Layer> {
    const known = this.#layers.get(id);
    if (known) return known;
    const layer = Layer.load(this.directory, id);
    this.#layers.set(id, layer);
    return layer;
  }

  /** @param ids the oldest layer first */
  async chain(ids: readonly string[], sizeBytes: number): Promise<Chain> {
    return new Chain(await Promise.all(ids.map(async (id) => this.get(id))), sizeBytes);
  }

  paths(id: string): { readonly data: string; readonly map: string } {
    return { data: join(this.directory, `${id}.raw`), map: join(this.directory, `${id}.map`) };
  }

  async discard(id: string): Promise<void> {
    const layer = await this.get(id);
    this.#layers.delete(id);
    await layer.discard();
  }

  async close(): Promise<void> {
    for (const layer of this.#layers.values()) await (await layer).close();
    this.#layers.clear();
  }
}
