import { readdirSync } from 'node:fs';
import { expect } from '@jest/globals';
import type { RestorePointRecord } from '@sendense/catalog';
import { processesOwnedBy, runCommand, silentLogger as log } from '@sendense/runtime';
import { verifyPoint, type VerifyRequest } from '../../src/chains/verify-point.js';
import { verifyHandler, verifyTask } from '../../src/chains/verify-task.js';
import type { TaskContext } from '../../src/tasks/types.js';
import { ChainStage, type ChainVm } from './chain-stage.js';

const MIB = 2 ** 20;
const KIB = 1024;
const OWNER = `verify-test-${process.pid}`;

/** A VM with a full and two incrementals, to be verified. */
export class VerifiedChain implements AsyncDisposable {
  /** Results that tasks told before their end. */
  readonly found: object[] = [];

  private constructor(
    readonly stage: ChainStage,
    readonly vm: ChainVm,
    readonly full: RestorePointRecord,
    readonly middle: RestorePointRecord,
    readonly last: RestorePointRecord,
  ) {}

  static async create(): Promise<VerifiedChain> {
    const stage = await ChainStage.create();
    // The second disk ends in the middle of a block.
    const vm = stage.vm('pgtest1', [4 * MIB, 2 * MIB + 512]);
    vm.disks[0]!.fill(0, MIB);
    vm.disks[0]!.fill(3 * MIB, 256 * KIB);
    vm.disks[1]!.fill(MIB, MIB + 512);
    const full = await vm.seal('full');
    vm.disks[0]!.fill(512 * KIB, 64 * KIB, 'changed');
    vm.disks[0]!.zero(3 * MIB, 128 * KIB);
    const middle = await vm.seal('incremental');
    vm.disks[0]!.fill(2 * MIB, 64 * KIB, 'new');
    return new VerifiedChain(stage, vm, full, middle, await vm.seal('incremental'));
  }

  /** Nothing of a verification may be left. */
  async [Symbol.asyncDispose](): Promise<void> {
    expect(processesOwnedBy(OWNER)).toEqual([]);
    expect(readdirSync(this.stage.runtimeDirectory)).toEqual([]);
    await this.stage[Symbol.asyncDispose]();
  }

  readonly tools = () => ({
    qemuImg: 'qemu-img',
    qemuNbd: 'qemu-nbd',
    runtimeDirectory: this.stage.runtimeDirectory,
    owner: OWNER,
  });

  readonly verify = async (point: RestorePointRecord, more: Partial<VerifyRequest> = {}) =>
    verifyPoint({
      ...{ repository: this.stage.repository, point, tools: this.tools(), log },
      ancestors: await this.stage.catalog.restorePoints.chain(point.id),
      ...{ quick: false, rateLimitBytesPerSecond: 0, signal: new AbortController().signal },
      ...more,
    });

  /** Runs the task as the runner would. */
  readonly run = async (point: RestorePointRecord, o: { quick?: boolean; signal?: AbortSignal } = {}) => {
    const request = verifyTask(point, {
      ...{ quick: o.quick ?? false, rateLimitBytesPerSecond: 0, requestedBy: 'test' },
    });
    const task = await this.stage.catalog.tasks.create(request);
    const context: TaskContext = {
      ...{ signal: o.signal ?? new AbortController().signal, log },
      progress: () => undefined,
      commit: () => undefined,
      soFar: (result) => void this.found.push(result),
    };
    const { catalog, repositories } = this.stage;
    return verifyHandler({ catalog, repositories, tools: this.tools() }).run(task, context);
  };

  readonly stateOf = async ({ id }: RestorePointRecord) => this.stage.catalog.restorePoints.get(id);

  readonly suspects = async () =>
    (await this.stage.catalog.restorePoints.ofContext(this.vm.contextId, this.stage.repository.id))
      .filter(({ suspect }) => suspect)
      .map(({ id }) => id)
      .toSorted();

  readonly imageOf = (point: RestorePointRecord, disk = 0) => this.stage.at(point.disks[disk]!.imagePath);
  readonly hashesOf = (point: RestorePointRecord, disk = 0) => this.stage.at(point.disks[disk]!.hashesPath!);
}

/** Changes one byte of what a guest would read, by qemu, so that the image stays sound. */
export const flip = (image: string, offset: number) =>
  runCommand('qemu-io', ['-f', 'qcow2', '-c', `write -P 0x5a ${offset} 1`, image], {
    code: 'process_failed',
    what: 'flipping a byte',
  });
