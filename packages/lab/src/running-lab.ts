import type { OwnedStack } from '@sendense/runtime';
import type { LabContext } from './context.js';
import type { Faults } from './faults.js';
import { describeDisk, describeSnapshot, describeVm } from './model/describe.js';
import { findSnapshot, findVm } from './model/inventory.js';
import { consolidate } from './operations/consolidation.js';
import { addDisk, growDisk, removeDisk, replaceDisk } from './operations/disks.js';
import { guestWrite } from './operations/guest-writes.js';
import { diskImage } from './operations/images.js';
import { createSnapshot, removeSnapshot, revertToSnapshot } from './operations/snapshots.js';
import { enableTracking, forgetChanges, resetTracking, startTracking } from './operations/tracking.js';
import { createVm, removeVm } from './operations/vms.js';
import type {
  ActiveFault,
  DiskSpec,
  GuestWrite,
  Journal,
  Lab,
  LabDisk,
  LabFault,
  LabSnapshot,
  LabVm,
  PowerState,
  SnapshotHistory,
  ToolsState,
  VmSpec,
} from './types.js';
import type { VimServer } from './vim-server.js';

interface Access {
  readonly username: string;
  readonly password: string;
  readonly passwordFile: string;
  readonly vddkLibdir: string;
}

/** The lab as its users see it. Everything here goes past the vSphere API and past its faults. */
export class RunningLab implements Lab {
  readonly directory: string;
  readonly endpoint: string;
  readonly host: string;
  readonly port: number;
  readonly thumbprints: { readonly sha1: string; readonly sha256: string };
  readonly username: string;
  readonly password: string;
  readonly passwordFile: string;
  readonly vddkLibdir: string;
  readonly vddkEnvironment: { readonly LAB_VDDK_DIR: string };

  constructor(
    private readonly context: LabContext,
    private readonly faultList: Faults,
    private readonly server: VimServer,
    access: Access,
    private readonly owned: OwnedStack,
  ) {
    this.directory = context.directory;
    this.endpoint = server.endpoint;
    this.host = server.host;
    this.port = server.port;
    this.thumbprints = server.thumbprints;
    this.username = access.username;
    this.password = access.password;
    this.passwordFile = access.passwordFile;
    this.vddkLibdir = access.vddkLibdir;
    this.vddkEnvironment = { LAB_VDDK_DIR: context.vddk.path };
  }

  async createVm(spec: VmSpec): Promise<LabVm> {
    const vm = await createVm(this.context, spec);
    return this.#changed(() => describeVm(this.context.state, vm));
  }

  vm(vm: string): LabVm {
    return describeVm(this.context.state, this.#vm(vm));
  }

  vms(): LabVm[] {
    return this.context.state.vms.map((vm) => describeVm(this.context.state, vm));
  }

  async removeVm(vm: string): Promise<void> {
    await removeVm(this.context, this.#vm(vm));
    this.server.notifyChange();
  }

  async setPower(vm: string, state: PowerState): Promise<void> {
    const found = this.#vm(vm);
    found.powerState = state;
    startTracking(found);
    await this.#save();
  }

  async setTools(vm: string, state: ToolsState): Promise<void> {
    this.#vm(vm).tools = state;
    await this.#save();
  }

  async guestWrite(vm: string, diskKey: number, write: GuestWrite | readonly GuestWrite[]): Promise<void> {
    const found = this.#vm(vm);
    const writes: readonly GuestWrite[] = Array.isArray(write) ? write : [write];
    for (const one of writes) await guestWrite(this.context, found, diskKey, one);
  }

  async diskImage(
    vm: string,
    diskKey: number,
    options: { readonly snapshot?: string } = {},
  ): Promise<string> {
    return diskImage(this.context, this.#vm(vm), diskKey, options.snapshot);
  }

  async addDisk(vm: string, spec: DiskSpec): Promise<LabDisk> {
    const disk = await addDisk(this.context, this.#vm(vm), spec);
    return this.#changed(() => describeDisk(disk));
  }

  async removeDisk(vm: string, diskKey: number): Promise<void> {
    await removeDisk(this.context, this.#vm(vm), diskKey);
    this.server.notifyChange();
  }

  async growDisk(vm: string, diskKey: number, sizeBytes: number): Promise<LabDisk> {
    const disk = await growDisk(this.context, this.#vm(vm), diskKey, sizeBytes);
    return this.#changed(() => describeDisk(disk));
  }

  async replaceDisk(
    vm: string,
    diskKey: number,
    options: { readonly sizeBytes?: number } = {},
  ): Promise<LabDisk> {
    const disk = await replaceDisk(this.context, this.#vm(vm), diskKey, options);
    return this.#changed(() => describeDisk(disk));
  }

  snapshots(vm: string): LabSnapshot[] {
    return this.#vm(vm).snapshots.map((snapshot) => describeSnapshot(snapshot));
  }

  snapshotHistory(vm: string): SnapshotHistory {
    return { created: 0, removed: 0, ...this.context.state.history[this.#vm(vm).moref] };
  }

  async createSnapshot(
    vm: string,
    { name, description = '' }: { readonly name: string; readonly description?: string },
  ): Promise<LabSnapshot> {
    const snapshot = await createSnapshot(this.context, this.#vm(vm), { name, description, quiesced: false });
    return this.#changed(() => describeSnapshot(snapshot));
  }

  async removeSnapshot(vm: string, snapshot: string): Promise<void> {
    const found = this.#vm(vm);
    await removeSnapshot(this.context, found, findSnapshot(found, snapshot));
    this.server.notifyChange();
  }

  async revertToSnapshot(vm: string, snapshot: string): Promise<void> {
    const found = this.#vm(vm);
    await revertToSnapshot(this.context, found, findSnapshot(found, snapshot));
    this.server.notifyChange();
  }

  async consolidate(vm: string): Promise<void> {
    await consolidate(this.context, this.#vm(vm));
    this.server.notifyChange();
  }

  async setChangeTracking(vm: string, enabled: boolean): Promise<void> {
    const found = this.#vm(vm);
    enableTracking(found, enabled);
    startTracking(found);
    await this.#save();
  }

  async resetChangeTracking(vm: string, diskKey?: number): Promise<void> {
    resetTracking(this.#vm(vm), diskKey);
    await this.#save();
  }

  async forgetChanges(vm: string, diskKey?: number): Promise<void> {
    forgetChanges(this.#vm(vm), diskKey);
    await this.#save();
  }

  setFault(fault: LabFault): number {
    return this.faultList.set(fault);
  }

  clearFaults(which?: number | string): void {
    this.faultList.clear(which);
  }

  faults(): ActiveFault[] {
    return this.faultList.list();
  }

  expireSessions(): void {
    this.server.expireSessions();
  }

  sessionCount(): number {
    return this.server.sessionCount();
  }

  async stopVCenter(): Promise<void> {
    await this.server.goOffline();
  }

  async startVCenter(): Promise<void> {
    await this.server.goOnline();
  }

  journal(): Journal {
    const { state } = this.context;
    return {
      operations: this.server.operations(),
      snapshots: Object.fromEntries(
        Object.entries(state.history).map(([moref, counts]) => [
          state.vms.find((vm) => vm.moref === moref)?.name ?? moref,
          { ...counts },
        ]),
      ),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.owned[Symbol.asyncDispose]();
  }

  #vm(vm: string) {
    return findVm(this.context.state, vm);
  }

  #changed<T>(describe: () => T): T {
    this.server.notifyChange();
    return describe();
  }

  async #save(): Promise<void> {
    await this.context.file.save();
    this.server.notifyChange();
  }
}
