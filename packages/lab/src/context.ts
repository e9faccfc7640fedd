import type { Logger } from '@sendense/runtime';
import { trackingFileName } from './model/ids.js';
import type { LabState, StateFile, TrackingState } from './model/state.js';
import { ChangeLog } from './storage/change-log.js';
import type { LayerStore } from './storage/layer-store.js';
import { Mutex } from './storage/mutex.js';
import type { VddkDirectory } from './vddk/directory.js';

/** What every operation on VMs and disks works with. */
export interface LabContext {
  readonly directory: string;
  readonly state: LabState;
  readonly file: StateFile;
  readonly layers: LayerStore;
  readonly changeLogs: ChangeLogs;
  readonly locks: VmLocks;
  readonly vddk: VddkDirectory;
  readonly keepFrozenImages: boolean;
  readonly changeIdsInFirstSnapshot: boolean;
  readonly log: Logger;
}

/** Guest writes, freezing and merging of one VM's disks exclude each other, so that a snapshot is one instant of all disks. */
export class VmLocks {
  readonly #mutexes = new Map<string, Mutex>();

  async run<T>(vm: { readonly moref: string }, work: () => Promise<T>): Promise<T> {
    let mutex = this.#mutexes.get(vm.moref);
    if (!mutex) {
      mutex = new Mutex();
      this.#mutexes.set(vm.moref, mutex);
    }
    return mutex.run(work);
  }
}

/** The records of changed block tracking, each opened once, when it is first needed. */
export class ChangeLogs {
  readonly #logs = new Map<string, ChangeLog>();

  constructor(private readonly directory: string) {}

  of(tracking: TrackingState): ChangeLog {
    const known = this.#logs.get(tracking.id);
    if (known) return known;
    const log = ChangeLog.open(this.directory, trackingFileName(tracking.id));
    this.#logs.set(tracking.id, log);
    return log;
  }

  close(): void {
    for (const log of this.#logs.values()) log.close();
    this.#logs.clear();
  }
}
