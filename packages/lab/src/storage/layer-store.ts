import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Chain } from './chain.js';
import { Layer } from './layer.js';

/** All layers of the lab, each opened once, when it is first needed. */
export class LayerStore {
  readonly #layers = new Map<string, Layer>();

  constructor(
    private readonly directory: string,
    /** The next number that no layer has had yet. */
    private readonly nextNumber: () => number,
  ) {
    mkdirSync(directory, { recursive: true });
  }

  /** Removes the files that nobody knows: what a lab left that was killed between two steps. */
  removeStrays(known: ReadonlySet<string>): void {
    for (const file of readdirSync(this.directory)) {
      if (!known.has(file.replace(/\.(raw|map)$/, ''))) rmSync(join(this.directory, file));
    }
  }

  create(sizeBytes: number): Layer {
    const id = `layer-${String(this.nextNumber()).padStart(6, '0')}`;
    const layer = Layer.create(this.directory, id, sizeBytes);
    this.#layers.set(id, layer);
    return layer;
  }

  get(id: string): Layer {
    const known = this.#layers.get(id);
    if (known) return known;
    const layer = Layer.load(this.directory, id);
    this.#layers.set(id, layer);
    return layer;
  }

  /** @param ids the oldest layer first */
  chain(ids: readonly string[], sizeBytes: number): Chain {
    return new Chain(
      ids.map((id) => this.get(id)),
      sizeBytes,
    );
  }

  paths(id: string): { readonly data: string; readonly map: string } {
    return { data: join(this.directory, `${id}.raw`), map: join(this.directory, `${id}.map`) };
  }

  discard(id: string): void {
    const layer = this.get(id);
    this.#layers.delete(id);
    layer.discard();
  }

  close(): void {
    for (const layer of this.#layers.values()) layer.close();
    this.#layers.clear();
  }
}
