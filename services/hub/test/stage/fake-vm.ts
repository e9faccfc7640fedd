import { createCipheriv, createHash, randomUUID } from 'node:crypto';
import type { VirtualMachine } from '@sendense/contracts';

export interface FakeDiskSpec {
  readonly key: number;
  readonly sizeBytes: number;
  readonly unsupportedReason?: string;
}

/** A disk in memory; what is not written is a hole. */
export class FakeDisk {
  readonly key: number;
  readonly backingUuid = randomUUID();
  readonly content: Buffer;
  readonly unsupportedReason: string;
  changeNumber = 1;
  /** Blocks of 64 KiB that changed, each with the changeNumber that it brought. */
  readonly #changes: { readonly number: number; readonly block: number }[] = [];

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
    this.fillUntold(offset, length, seed);
    this.#tell(offset, length);
  }

  zero(offset: number, length: number): void {
    this.content.fill(0, offset, offset + length);
    this.#tell(offset, length);
  }

  /** A change that changed block tracking misses. */
  fillUntold(offset: number, length: number, seed = 'untold'): void {
    const key = createHash('sha256').update(`${seed} ${offset}`).digest();
    const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
    cipher.update(Buffer.alloc(length)).copy(this.content, offset);
  }

  /** The changed blocks since a snapshot of that changeId, ascending. */
  changedSince(changeId: string): number[] {
    const since = Number(changeId.split('/')[1]);
    const changed = this.#changes.filter(({ number }) => number > since).map(({ block }) => block);
    return [...new Set(changed)].toSorted((a, b) => a - b);
  }

  #tell(offset: number, length: number): void {
    const number = ++this.changeNumber;
    for (let block = Math.floor(offset / BLOCK_BYTES); block * BLOCK_BYTES < offset + length; block++)
      this.#changes.push({ number, block });
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
