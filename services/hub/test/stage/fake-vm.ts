import { createCipheriv, createHash, randomUUID } from 'node:crypto';
import type { VirtualMachine } from '@sendense/contracts';
import type { Extent } from '@sendense/core';

export interface FakeDiskSpec {
  readonly key: number;
  readonly sizeBytes: number;
  readonly unsupportedReason?: string;
}

/** A disk in memory; what is not written is a hole. */
export class FakeDisk {
  readonly key: number;
  readonly backingUuid = randomUUID();
  content: Buffer;
  readonly unsupportedReason: string;
  changeNumber = 1;
  /** The part of its changeIds that another history does not have. */
  #history = 'aa';
  /** Blocks of 64 KiB in which something changed that is not told. */
  readonly #untold = new Set<number>();
  /** Each with the changeNumber that it brought. */
  readonly #changes: ({ readonly number: number } & Extent)[] = [];

  constructor(spec: FakeDiskSpec) {
    this.key = spec.key;
    this.content = Buffer.alloc(spec.sizeBytes);
    this.unsupportedReason = spec.unsupportedReason ?? '';
  }

  get sizeBytes(): number {
    return this.content.length;
  }

  /** Incompressible bytes, the same for the same seed. */
  fill(offset: number, length: number, seed = 'seed'): void {
    this.#write(offset, length, seed);
    this.#tell(offset, length);
  }

  zero(offset: number, length: number): void {
    this.content.fill(0, offset, offset + length);
    this.#tell(offset, length);
  }

  /** A change that changed block tracking misses. */
  fillUntold(offset: number, length: number, seed = 'untold'): void {
    for (let block = Math.floor(offset / BLOCK_BYTES); block * BLOCK_BYTES < offset + length; block++)
      this.#untold.add(block);
    this.#write(offset, length, seed);
  }

  #write(offset: number, length: number, seed: string): void {
    const key = createHash('sha256').update(`${seed} ${offset}`).digest();
    const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
    cipher.update(Buffer.alloc(length)).copy(this.content, offset);
  }

  /** What is new reads as zeros. */
  grow(bytes: number): void {
    this.content = Buffer.concat([this.content, Buffer.alloc(bytes)]);
  }

  /** Back to what it was at a snapshot: what was told since is worth nothing, and neither is any earlier changeId. */
  revert(content: Buffer): void {
    content.copy(this.content);
    this.#history += 'a';
    this.#changes.length = 0;
  }

  get changeId(): string {
    return `52 ${this.#history}/${this.changeNumber}`;
  }

  /** Whether the tracking can say what changed since. */
  knows(changeId: string): boolean {
    return changeId.startsWith(`52 ${this.#history}/`);
  }

  /**
   * What changed since a snapshot of that changeId, as exactly as it was told; but a block of which something was not
   * told is told as a whole or not at all: real tracking knows nothing smaller than a block.
   */
  extentsSince(changeId: string): Extent[] {
    const since = Number(changeId.split('/')[1]);
    return this.#changes.filter(({ number }) => number > since).map((change) => this.#widened(change));
  }

  #widened({ offset, length }: Extent): Extent {
    const [first, last] = [offset, offset + length - 1].map((at) => Math.floor(at / BLOCK_BYTES)) as [
      number,
      number,
    ];
    const from = this.#untold.has(first) ? first * BLOCK_BYTES : offset;
    const to = this.#untold.has(last) ? (last + 1) * BLOCK_BYTES : offset + length;
    return { offset: from, length: Math.min(to, this.sizeBytes) - from };
  }

  /** The changed blocks since a snapshot of that changeId, ascending. */
  changedSince(changeId: string): number[] {
    const blocks = new Set<number>();
    for (const { offset, length } of this.extentsSince(changeId))
      for (let block = Math.floor(offset / BLOCK_BYTES); block * BLOCK_BYTES < offset + length; block++)
        blocks.add(block);
    return [...blocks].toSorted((a, b) => a - b);
  }

  #tell(offset: number, length: number): void {
    this.#changes.push({ number: ++this.changeNumber, offset, length });
  }
}

const BLOCK_BYTES = 64 << 10;

/** A VM whose snapshots are only counted. */
export class FakeVm {
  readonly instanceUuid = randomUUID();
  readonly snapshots: { moref: string; jobId: string }[] = [];
  snapshotsCreated = 0;
  host = 'host-21';
  datastore = 'ds-1';
  quiesces = true;
  foreignSnapshots = 0;
  changeTracking = 'already_enabled';
  /** Its disks are copied by the node's own engine, each extent as exactly as it was told, instead of block by block. */
  copiedByEngine = false;
  /** Why the changed areas of a disk cannot be used, by its key. */
  readonly fullReasons = new Map<number, string>();
  disks: FakeDisk[];

  constructor(
    readonly moref: string,
    public name: string,
    disks: readonly FakeDiskSpec[],
  ) {
    this.disks = disks.map((spec) => new FakeDisk(spec));
  }

  disk(key: number): FakeDisk {
    const found = this.disks.find((disk) => disk.key === key);
    if (!found) throw new Error(`${this.name} has no disk ${key}`);
    return found;
  }

  toMessage(): VirtualMachine {
    return {
      moref: this.moref,
      instanceUuid: this.instanceUuid,
      name: this.name,
      powerState: 'poweredOn',
      toolsStatus: 'guestToolsRunning',
      hostMoref: this.host,
      hostName: this.host,
      guestFullName: 'Debian GNU/Linux 12',
      changeTrackingSupported: true,
      changeTrackingEnabled: true,
      snapshotCount: this.snapshots.length,
      hardwareVersion: 'vmx-19',
      disks: this.disks.map((disk) => ({
        key: disk.key,
        label: `Hard disk ${disk.key}`,
        backingUuid: disk.backingUuid,
        backingFile: `[${this.datastore}] ${this.moref}/${disk.key}.vmdk`,
        datastore: this.datastore,
        capacityBytes: BigInt(disk.sizeBytes),
        controllerKey: 1000,
        unitNumber: disk.key - 2000,
        thinProvisioned: true,
        unsupportedReason: disk.unsupportedReason,
      })),
    };
  }
}
