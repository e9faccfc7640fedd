import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { FakeNode } from './fake-node.js';
import type { FakeVm } from './fake-vm.js';
import { NOTHING_LEFT, Spine, type SpineOptions } from './spine.js';

const MIB = 2 ** 20;

/** A node with one VM of two disks under protection, for tests of what goes wrong. */
export class ProtectedVm implements AsyncDisposable {
  readonly #scripts = temporaryDirectory('sdt');
  #spine: Spine | undefined;
  contextId = '';

  private constructor(
    readonly node: FakeNode,
    readonly vm: FakeVm,
  ) {}

  static async create(): Promise<ProtectedVm> {
    const node = await FakeNode.start();
    const vm = node.addVm('pgtest1', [
      { key: 2000, sizeBytes: 4 * MIB },
      { key: 2001, sizeBytes: 2 * MIB },
    ]);
    return new ProtectedVm(node, vm);
  }

  /** Starts the runs, with what the test wants to be broken. */
  async setUp(options: SpineOptions = {}): Promise<Spine> {
    this.#spine = await Spine.start(this.node, options);
    this.contextId = await this.spine.protect(this.vm);
    return this.#spine;
  }

  get spine(): Spine {
    if (!this.#spine) throw new Error('it was not set up');
    return this.#spine;
  }

  /** A script in the place of a tool. @returns its path */
  script(name: string, text: string): string {
    const path = join(this.#scripts.path, name);
    writeFileSync(path, `#!/bin/sh\n${text}\n`);
    chmodSync(path, 0o755);
    return path;
  }

  /** A tool that hangs in one of its commands, or in each. */
  hangingTool(tool: string, command = '*'): { readonly path: string; readonly marker: string } {
    const marker = join(this.#scripts.path, `${tool}-hangs`);
    const text = `case "$1" in ${command}) touch '${marker}'; exec sleep 600;; esac\nexec ${tool} "$@"`;
    return { path: this.script(tool, text), marker };
  }

  /** Everything of the backup is gone, now or soon. */
  async leavesNothing(): Promise<void> {
    await eventually('nothing is left', async () => {
      expect(await this.spine.leftovers(this.node)).toEqual(NOTHING_LEFT);
      return true;
    });
    expect(await this.spine.files()).toEqual([]);
    expect((await this.spine.catalog.restorePoints.list()).items).toEqual([]);
  }

  async worksAgain(): Promise<void> {
    expect(await this.spine.backUp(this.contextId)).toMatchObject({ state: 'completed' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#spine?.[Symbol.asyncDispose]();
    await this.node[Symbol.asyncDispose]();
    this.#scripts[Symbol.dispose]();
  }
}
