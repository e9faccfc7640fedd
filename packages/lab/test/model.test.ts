import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import { startLab, type Lab } from '../src/index.js';
import { SoapClient } from './soap-client.js';

const describeWith = requires(describe, 'openssl', 'qemu-img');
const GRAIN = 65_536;
const SIZE = 9 * GRAIN + 512;

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      offset: fc.nat(SIZE - 1),
      length: fc.nat(2 * GRAIN),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('zero' as const),
      offset: fc.nat(SIZE - 1),
      length: fc.nat(3 * GRAIN),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('snapshot' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('remove' as const), which: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('revert' as const), which: fc.nat(9) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('grow' as const), by: fc.integer({ min: 1, max: 300 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reset' as const) }) },
);

type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

interface Taken {
  readonly moref: string;
  readonly changeId: string;
  readonly content: Buffer;
  /** The snapshots on the way to it: from any other one, the disk did not come by writes alone. */
  readonly ancestors: readonly Taken[];
}

/** One VM of the lab beside what its disk should hold, now and in every snapshot. */
class Model {
  content = Buffer.alloc(SIZE);
  /** Those that exist. */
  snapshots: Taken[] = [];
  /** All that were ever taken. */
  readonly ever: Taken[] = [];
  /** Those that the disk has come through, the last revert respected. */
  #ancestors: readonly Taken[] = [];
  #writes = 0;

  constructor(
    private readonly lab: Lab,
    private readonly client: SoapClient,
    private readonly vm: string,
  ) {}

  async apply(one: Step): Promise<void> {
    switch (one.kind) {
      case 'write':
        return this.#write(one.offset, one.length);
      case 'zero':
        return this.#zero(one.offset, one.length);
      case 'snapshot':
        return this.#snapshot();
      case 'remove':
        return this.#remove(one.which);
      case 'revert':
        return this.#revert(one.which);
      case 'grow':
        return this.#grow(one.by * 512);
      case 'reset':
        return this.lab.resetChangeTracking(this.vm);
      default:
        return one satisfies never;
    }
  }

  async #write(offset: number, wanted: number): Promise<void> {
    const length = Math.min(wanted, this.content.length - offset);
    const data = Buffer.alloc(length, createHash('sha256').update(String(this.#writes++)).digest());
    data.copy(this.content, offset);
    await this.lab.guestWrite(this.vm, 2000, { offset, data });
  }

  async #zero(offset: number, wanted: number): Promise<void> {
    const length = Math.min(wanted, this.content.length - offset);
    this.content.fill(0, offset, offset + length);
    await this.lab.guestWrite(this.vm, 2000, { offset, zeros: length });
  }

  async #snapshot(): Promise<void> {
    const { moref, disks } = await this.lab.createSnapshot(this.vm, { name: `s${this.ever.length}` });
    const ancestors = this.#ancestors;
    const taken = { moref, changeId: disks[0]!.changeId!, content: Buffer.from(this.content), ancestors };
    this.#ancestors = [...ancestors, taken];
    this.snapshots.push(taken);
    this.ever.push(taken);
  }

  async #remove(which: number): Promise<void> {
    const removed = this.snapshots[which % Math.max(1, this.snapshots.length)];
    if (!removed) return;
    await this.lab.removeSnapshot(this.vm, removed.moref);
    this.snapshots = this.snapshots.filter((snapshot) => snapshot !== removed);
  }

  async #revert(which: number): Promise<void> {
    const target = this.snapshots[which % Math.max(1, this.snapshots.length)];
    if (!target) return;
    await this.lab.revertToSnapshot(this.vm, target.moref);
    this.content = Buffer.from(target.content);
    this.#ancestors = [...target.ancestors, target];
  }

  async #grow(by: number): Promise<void> {
    const size = this.content.length + by;
    if (this.snapshots.length > 0) {
      await expect(this.lab.growDisk(this.vm, 2000, size)).rejects.toMatchObject({ code: 'conflict' });
      return;
    }
    await this.lab.growDisk(this.vm, 2000, size);
    this.content = Buffer.concat([this.content, Buffer.alloc(by)]);
  }

  async check(kept: boolean): Promise<void> {
    const image = async (snapshot?: string) =>
      readFile(await this.lab.diskImage(this.vm, 2000, snapshot === undefined ? {} : { snapshot }));
    expect((await image()).equals(this.content)).toBe(true);
    for (const { moref, content } of kept ? this.ever : this.snapshots) {
      expect((await image(moref)).equals(content)).toBe(true);
    }
    expect(this.lab.vm(this.vm).consolidationNeeded).toBe(false);
    expect(this.lab.snapshots(this.vm).map(({ moref }) => moref)).toEqual(
      this.snapshots.map(({ moref }) => moref),
    );
    for (const to of this.snapshots) await this.#checkChanges(to);
  }

  /**
   * Changes are a superset of what differs; a changeId that says nothing about the snapshot is refused, but for those of a
   * branch that a revert left: their numbers are given again, and nobody can tell.
   */
  async #checkChanges(to: Taken): Promise<void> {
    for (const from of this.ever) {
      const { fault, areas, length } = await this.client.changedAreas(
        this.vm,
        to.moref,
        2000,
        0,
        from.changeId,
      );
      const [fromId, fromEpoch] = from.changeId.split('/');
      const [toId, toEpoch] = to.changeId.split('/');
      if (fromId !== toId) expect(fault).toBe('FileFault');
      else if (Number(fromEpoch) > Number(toEpoch)) expect(fault).toBe('InvalidArgument');
      else {
        expect(length).toBe(to.content.length);
        if (from === to || to.ancestors.includes(from))
          expect(missed(from.content, to.content, areas)).toEqual([]);
      }
    }
    const { areas } = await this.client.changedAreas(this.vm, to.moref, 2000, 0, '*');
    expect(missed(Buffer.alloc(0), to.content, areas)).toEqual([]);
  }
}

/** Grains that differ and that no area holds. */
function missed(from: Buffer, to: Buffer, areas: readonly { offset: number; length: number }[]): number[] {
  const before = Buffer.alloc(to.length);
  from.copy(before);
  const grains = [];
  for (let at = 0; at < to.length; at += GRAIN) {
    const end = Math.min(at + GRAIN, to.length);
    const differs = before.compare(to, at, end, at, end) !== 0;
    if (differs && !areas.some(({ offset, length }) => offset <= at && offset + length >= end))
      grains.push(at / GRAIN);
  }
  return grains;
}

describeWith('a VM under random guest writes, snapshots, removals, reverts and growing', () => {
  it.each([false, true])(
    'holds what a simple model holds, and names every change (frozen images kept: %s)',
    async (kept) => {
      using folder = temporaryDirectory();
      await using lab = await startLab({ directory: folder.path, taskDurationMs: 0, keepFrozenImages: kept });
      const client = await SoapClient.login(lab);
      let run = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 22 }), async (steps) => {
          const vm = await lab.createVm({
            name: `vm ${run++}`,
            disks: [{ sizeBytes: SIZE }],
            changeTrackingEnabled: true,
          });
          const model = new Model(lab, client, vm.moref);
          for (const one of steps) await model.apply(one);
          await model.check(kept);
          await lab.removeVm(vm.moref);
        }),
        { numRuns: 15 },
      );
    },
  );
});
