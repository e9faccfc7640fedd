import { join } from 'node:path';
import {
  DiskBackupType,
  toErrorDetail,
  type DiskTarget,
  type JobEvent,
  type RunBackupRequest,
} from '@sendense/contracts';
import { SendenseError, throwIfAborted, toSendenseError } from '@sendense/core';
import { BlockHashWriter, BufferPool, copyDisk, HASH_BLOCK_BYTES, hashBlock, NbdClient } from '@sendense/nbd';
import { OwnedStack, silentLogger } from '@sendense/runtime';
import type { FakeDisk, FakeVm } from './fake-vm.js';
import { MemorySource } from './memory-source.js';

type EventBody = NonNullable<JobEvent['event']>;

/** Where a job can be made to wait or to fail. */
export type Phase = 'accepted' | 'snapshot' | 'copying' | 'copied' | 'removing' | 'hashes';

export interface JobScript {
  /** Called at each phase; it may wait, or throw what the job fails with. */
  at(phase: Phase, signal: AbortSignal): Promise<void>;
}

const PIECE_BYTES = 1 << 20;

interface PieceCopy {
  readonly disk: FakeDisk;
  readonly client: NbdClient;
  readonly fullReason: string;
  readonly bytesTotal: bigint;
  readonly signal: AbortSignal;
}

/**
 * A job as the real node runs it, as far as the hub can see: numbered events, one snapshot, and every disk written for
 * real through NBD to the port that the hub leased.
 */
export class FakeJob {
  readonly events: JobEvent[] = [];
  readonly stop = new AbortController();
  readonly ended: Promise<void>;
  #progress: JobEvent | undefined;
  #changed = Promise.withResolvers<void>();

  constructor(
    readonly request: RunBackupRequest,
    readonly vm: FakeVm,
    private readonly hashFolder: string,
    private readonly script: JobScript,
  ) {
    this.ended = this.#run();
  }

  get id(): string {
    return this.request.jobId;
  }

  get state(): 'running' | 'finished' | 'failed' {
    const last = this.events.at(-1)?.event?.$case;
    return last === 'finished' || last === 'failed' ? last : 'running';
  }

  hashesPath(diskKey: number): string {
    return join(this.hashFolder, `${this.id}-${diskKey}.hashes`);
  }

  async *watch(after: bigint, signal: AbortSignal): AsyncGenerator<JobEvent> {
    let sent = after;
    let shown: JobEvent | undefined;
    while (!signal.aborted) {
      const changed = this.#changed.promise;
      for (const event of this.events.slice(Number(sent))) {
        yield event;
        sent = event.sequence;
      }
      if (this.state !== 'running') return;
      if (this.#progress && this.#progress !== shown) {
        shown = this.#progress;
        yield shown;
      }
      const aborted = Promise.withResolvers<void>();
      signal.addEventListener('abort', () => aborted.resolve(), { once: true });
      await Promise.race([changed, aborted.promise]);
    }
  }

  #emit(event: EventBody): void {
    const at = new Date();
    if (event.$case === 'progress') this.#progress = { sequence: BigInt(this.events.length), at, event };
    else this.events.push({ sequence: BigInt(this.events.length + 1), at, event });
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async #run(): Promise<void> {
    const { signal } = this.stop;
    try {
      await this.#backUp(signal);
      this.#emit({ $case: 'finished', value: { bytesRead: 0n, bytesWritten: 0n, bytesZeroed: 0n } });
    } catch (error) {
      const cause = signal.aborted ? toSendenseError(signal.reason) : toSendenseError(error);
      this.#emit({ $case: 'failed', value: toErrorDetail(cause) });
    }
  }

  async #backUp(signal: AbortSignal): Promise<void> {
    const { vm, request, script } = this;
    this.#emit({ $case: 'accepted', value: { nodeName: 'berlin', diskCount: request.disks.length } });
    await script.at('accepted', signal);
    await using owned = new OwnedStack(silentLogger);
    const clients = new Map<number, NbdClient>();
    for (const target of request.disks)
      clients.set(target.diskKey, owned.use('target', await connect(target)));
    const enabled = vm.changeTracking === 'already_enabled';
    this.#emit({ $case: 'changeTracking', value: { enabled, outcome: vm.changeTracking } });
    const moref = `snapshot-${++vm.snapshotsCreated}`;
    vm.snapshots.push({ moref, jobId: this.id });
    try {
      this.#announceSnapshot(moref, enabled);
      await script.at('snapshot', signal);
      const copies = request.disks.map((target) => this.#copy(target, clients.get(target.diskKey), signal));
      for (const copy of await Promise.allSettled(copies)) if (copy.status === 'rejected') throw copy.reason;
      await script.at('copied', signal);
    } finally {
      await this.#removeSnapshot(moref);
    }
  }

  #announceSnapshot(moref: string, tracked: boolean): void {
    const { vm, request } = this;
    const quiesced = request.quiesce && vm.quiesces;
    this.#emit({
      $case: 'snapshotCreated',
      value: {
        moref,
        name: `sendense-${this.id}`,
        quiesced,
        quiesceNote: request.quiesce && !quiesced ? 'VMware Tools are not running' : '',
        changeIds: request.disks.map(({ diskKey }) => ({
          diskKey,
          changeId: tracked ? vm.disk(diskKey).changeId : '',
        })),
        foreignSnapshots: vm.foreignSnapshots,
      },
    });
  }

  async #removeSnapshot(moref: string): Promise<void> {
    try {
      await this.script.at('removing', new AbortController().signal);
      this.vm.snapshots.splice(
        this.vm.snapshots.findIndex((snapshot) => snapshot.moref === moref),
        1,
      );
      this.#emit({ $case: 'snapshotRemoved', value: { moref, consolidated: false } });
    } catch (error) {
      const { message } = toSendenseError(error);
      this.#emit({ $case: 'warning', value: { code: 'snapshot_remove_failed', message, context: {} } });
    }
  }

  async #copy(target: DiskTarget, client: NbdClient | undefined, signal: AbortSignal): Promise<void> {
    const { vm } = this;
    const disk = vm.disk(target.diskKey);
    if (!client) throw new Error('no connection');
    if (disk.backingUuid !== target.backingUuid || disk.sizeBytes !== Number(target.capacityBytes))
      throw new SendenseError('disk_set_changed', `disk ${disk.key} is another one now`, { retryable: true });
    const incremental = target.type === DiskBackupType.DISK_BACKUP_TYPE_INCREMENTAL;
    const fullReason = incremental ? whyInFull(vm, disk, target) : '';
    const changed = incremental && fullReason === '' ? disk.changedSince(target.previousChangeId) : undefined;
    const pieces = changed?.map((block) => piece(disk, block, HASH_BLOCK_BYTES)) ?? wholeDisk(disk);
    const bytesTotal = BigInt(pieces.reduce((sum, { bytes }) => sum + bytes.length, 0));
    if (fullReason !== '')
      this.#emit({ $case: 'warning', value: { code: fullReason, message: 'read in full', context: {} } });
    this.#emit({
      $case: 'diskStarted',
      value: {
        ...{ diskKey: disk.key, bytesTotal, extentCount: BigInt(pieces.length) },
        extentSource: changed ? 'changed_areas' : 'allocated_areas',
        ...{ fullReason, fullDetail: fullReason === '' ? '' : `vCenter said ${fullReason}` },
      },
    });
    const copied = vm.copiedByEngine
      ? await this.#copyByEngine(target, disk, changed !== undefined, client, signal)
      : await this.#copyPieces(pieces, { disk, client, fullReason, bytesTotal, signal });
    const hashedBlocks = copied ?? (await this.#hash(disk, changed ?? blocksOf(disk)));
    this.#emit({
      $case: 'diskFinished',
      value: {
        diskKey: disk.key,
        bytesRead: bytesTotal,
        bytesWritten: bytesTotal,
        bytesZeroed: 0n,
        hashedBlocks: BigInt(hashedBlocks),
        durationMs: 1n,
        auditedBlocks: changed ? audited(disk, target, changed) : [],
      },
    });
  }

  async #copyPieces(
    pieces: readonly { readonly offset: number; readonly bytes: Buffer }[],
    { disk, client, fullReason, bytesTotal, signal }: PieceCopy,
  ): Promise<undefined> {
    let bytesDone = 0n;
    for (const { offset, bytes } of pieces) {
      throwIfAborted(signal);
      if (bytes.some((byte) => byte !== 0)) await client.write(offset, bytes);
      // Written as if there were no backing file: the hub has to cut that off.
      else if (fullReason === '') await client.writeZeroes(offset, bytes.length);
      bytesDone += BigInt(bytes.length);
      this.#emit({ $case: 'progress', value: { disks: [{ diskKey: disk.key, bytesDone, bytesTotal }] } });
      await this.script.at('copying', signal);
    }
    await client.flush();
  }

  /** @returns how many blocks were hashed */
  async #copyByEngine(
    { previousChangeId, targetHasBacking }: DiskTarget,
    disk: FakeDisk,
    incremental: boolean,
    client: NbdClient,
    signal: AbortSignal,
  ): Promise<number> {
    await using hashes = await BlockHashWriter.create(this.hashesPath(disk.key), {
      sizeBytes: disk.sizeBytes,
    });
    const { hashedBlocks } = await copyDisk({
      source: new MemorySource(disk.content, () => this.script.at('copying', signal)),
      targets: [client],
      extents: incremental ? disk.extentsSince(previousChangeId) : [{ offset: 0, length: disk.sizeBytes }],
      sizeBytes: disk.sizeBytes,
      // What is read in full must not depend on what lies beneath: the hub cuts that off.
      targetHasBacking: incremental && targetHasBacking,
      ...{ hashes, buffers: new BufferPool({ bufferBytes: PIECE_BYTES / 4, count: 4 }), signal },
      log: silentLogger,
    });
    await hashes.finish();
    return hashedBlocks;
  }

  async #hash(disk: FakeDisk, blocks: readonly number[]): Promise<number> {
    await using writer = await BlockHashWriter.create(this.hashesPath(disk.key), {
      sizeBytes: disk.sizeBytes,
    });
    for (const block of blocks) {
      const hash = hashOf(disk, block);
      if (hash.length === 0) writer.append({ kind: 'zero', firstBlock: block, count: 1 });
      else writer.append({ kind: 'data', firstBlock: block, count: 1, hashes: hash });
    }
    await writer.finish();
    return blocks.length;
  }
}

/** Empty when the changed areas can be used. */
function whyInFull({ fullReasons }: FakeVm, disk: FakeDisk, { previousChangeId }: DiskTarget): string {
  return fullReasons.get(disk.key) ?? (disk.knows(previousChangeId) ? '' : 'change_id_foreign');
}

function wholeDisk(disk: FakeDisk) {
  return Array.from({ length: Math.ceil(disk.sizeBytes / PIECE_BYTES) }, (_, index) =>
    piece(disk, index, PIECE_BYTES),
  );
}

function piece({ content }: FakeDisk, index: number, length: number) {
  return { offset: index * length, bytes: content.subarray(index * length, (index + 1) * length) };
}

function blocksOf({ sizeBytes }: FakeDisk): number[] {
  return Array.from({ length: Math.ceil(sizeBytes / HASH_BLOCK_BYTES) }, (_, block) => block);
}

/** Empty for zeros. */
function hashOf(disk: FakeDisk, block: number): Buffer {
  const { bytes } = piece(disk, block, HASH_BLOCK_BYTES);
  return bytes.some((byte) => byte !== 0) ? hashBlock(bytes) : Buffer.alloc(0);
}

function audited(disk: FakeDisk, { auditBlocks }: DiskTarget, changed: readonly number[]) {
  return auditBlocks
    .filter((block) => !changed.includes(Number(block)))
    .map((block) => ({ block, hash: hashOf(disk, Number(block)) }));
}

function connect(target: DiskTarget): Promise<NbdClient> {
  return NbdClient.connect({
    address: { kind: 'tcp', host: '127.0.0.1', port: target.nbdPort },
    exportName: target.nbdExportName,
    log: silentLogger,
  });
}
