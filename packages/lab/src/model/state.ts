import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SendenseError } from '@sendense/core';
import type { ControllerKind, DiskBacking, DiskMode, PowerState, ToolsState } from '../types.js';
import { replaceFile } from '../replace-file.js';

/** Changed block tracking of one disk. A changeId is `id/epoch`: what changed after it was written in a later epoch. */
export interface TrackingState {
  readonly id: string;
  /** The one that is written to now; every snapshot ends one. */
  epoch: number;
  /** Whether `*` (all allocated areas) may be asked: tracking was enabled while no snapshot existed. */
  readonly allocatedKnown: boolean;
  /** The record of earlier epochs is lost: changeIds below this one are stale. */
  unknownBefore?: number;
}

export interface DiskState {
  readonly key: number;
  readonly label: string;
  readonly controllerKey: number;
  readonly unitNumber: number;
  readonly uuid: string;
  sizeBytes: number;
  readonly thin: boolean;
  readonly mode: DiskMode;
  readonly backing: DiskBacking;
  readonly multiWriter: boolean;
  /** Its controller's bus is shared with other VMs. */
  readonly busShared: boolean;
  /** The VMDK that is written: a key of the VM's `vmdks`. */
  fileName: string;
  tracking?: TrackingState;
}

/** One VMDK file as vSphere shows it: a base disk or the delta of a snapshot. */
export interface VmdkState {
  /** What it is a delta of. */
  parent?: string;
  /** Ids of its layers, the oldest first. More than one when frozen images keep them from being merged. */
  layers: string[];
}

export interface SnapshotDiskState extends Omit<DiskState, 'tracking'> {
  /** The VMDK that the snapshot froze. */
  fileName: string;
  readonly changeId?: string;
  readonly tracking?: TrackingState;
}

export interface SnapshotState {
  readonly moref: string;
  readonly id: number;
  readonly name: string;
  readonly description: string;
  readonly createdAt: string;
  readonly quiesced: boolean;
  readonly powerState: PowerState;
  parent?: string;
  readonly disks: SnapshotDiskState[];
  /** Disks that the snapshot does not hold (independent, shared, …), as they were configured. */
  readonly otherDisks: DiskState[];
}

export interface ControllerState {
  readonly key: number;
  readonly kind: ControllerKind;
  readonly bus: number;
}

export interface VmState {
  readonly moref: string;
  readonly name: string;
  readonly instanceUuid: string;
  readonly biosUuid: string;
  readonly template: boolean;
  readonly hardwareVersion: string;
  readonly changeTrackingSupported: boolean;
  readonly host: string;
  readonly datastore: string;
  /** The moref of its folder. */
  readonly folder: string;
  /** On the datastore. */
  readonly directory: string;
  powerState: PowerState;
  tools: ToolsState;
  changeTrackingEnabled: boolean;
  /** Whether `*` will be answered, decided when tracking was enabled. */
  allocatedKnown: boolean;
  controllers: ControllerState[];
  disks: DiskState[];
  vmdks: Record<string, VmdkState>;
  snapshots: SnapshotState[];
  currentSnapshot?: string;
  nextSnapshotId: number;
  /** Another one after every change of the configuration. */
  changeVersion: string;
}

/** A named thing of the inventory. */
export interface PlaceState {
  readonly moref: string;
  readonly name: string;
}

export interface FolderState extends PlaceState {
  readonly parent: string;
}

/** The image of a disk of a snapshot that may be gone by now. */
export interface KeptImageState {
  readonly vm: string;
  readonly snapshot: string;
  readonly snapshotName: string;
  readonly diskKey: number;
  readonly sizeBytes: number;
  readonly layers: readonly string[];
}

export interface LabState {
  readonly version: 1;
  readonly instanceUuid: string;
  nextMoref: number;
  nextLayer: number;
  readonly hosts: PlaceState[];
  readonly datastores: PlaceState[];
  readonly folders: FolderState[];
  vms: VmState[];
  kept: KeptImageState[];
  readonly history: Record<string, { created: number; removed: number }>;
}

/** The state of the lab and its file. */
export class StateFile {
  #saving: Promise<void> | undefined;
  #again = false;

  private constructor(
    readonly path: string,
    readonly state: LabState,
  ) {}

  static async open(directory: string, fresh: () => LabState): Promise<StateFile> {
    const path = join(directory, 'lab.json');
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new StateFile(path, fresh());
      throw error;
    }
    const state = JSON.parse(text) as LabState;
    if (state.version !== 1) {
      throw new SendenseError(
        'invalid_config',
        `${path} was written by another version of the lab: use another directory`,
      );
    }
    return new StateFile(path, state);
  }

  /** Returns when what is in memory now is in the file. Several callers share one write. */
  async save(): Promise<void> {
    if (this.#saving) {
      this.#again = true;
      return this.#saving;
    }
    this.#saving = this.#write().finally(() => {
      this.#saving = undefined;
    });
    return this.#saving;
  }

  async #write(): Promise<void> {
    do {
      this.#again = false;
      await replaceFile(this.path, `${JSON.stringify(this.state, undefined, 1)}\n`);
    } while (this.#again);
  }
}
