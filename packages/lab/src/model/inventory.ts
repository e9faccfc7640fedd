import { randomUUID } from 'node:crypto';
import { SendenseError, slug } from '@sendense/core';
import type { LabState, PlaceState, SnapshotState, VmState } from './state.js';

// The one datacenter with its cluster is always there; hosts, datastores and folders come with the VMs that name them.

export const ROOT_FOLDER = 'group-d1';
export const DATACENTER = 'datacenter-2';
export const VM_FOLDER = 'group-v3';
export const HOST_FOLDER = 'group-h4';
export const DATASTORE_FOLDER = 'group-s5';
export const NETWORK_FOLDER = 'group-n6';
export const NETWORK = 'network-7';
export const CLUSTER = 'domain-c8';
export const RESOURCE_POOL = 'resgroup-9';

export function emptyState(): LabState {
  return {
    version: 1,
    instanceUuid: randomUUID(),
    nextMoref: 10,
    nextLayer: 1,
    hosts: [],
    datastores: [],
    folders: [],
    vms: [],
    kept: [],
    history: {},
  };
}

export function newMoref(state: LabState, prefix: string): string {
  return `${prefix}-${state.nextMoref++}`;
}

function place(state: LabState, places: PlaceState[], name: string, prefix: string): PlaceState {
  const known = places.find((candidate) => candidate.name === name);
  if (known) return known;
  const made = { moref: newMoref(state, prefix), name };
  places.push(made);
  return made;
}

export function hostNamed(state: LabState, name: string): PlaceState {
  return place(state, state.hosts, name, 'host');
}

export function datastoreNamed(state: LabState, name: string): PlaceState {
  return place(state, state.datastores, name, 'datastore');
}

/** Folders below the datacenter's `vm` folder, made when missing. @returns the last one's moref */
export function folderAt(state: LabState, path: string): string {
  let parent = VM_FOLDER;
  for (const name of path.split('/').filter((part) => part !== '')) {
    let folder = state.folders.find((candidate) => candidate.parent === parent && candidate.name === name);
    if (!folder) {
      folder = { moref: newMoref(state, 'group-v'), name, parent };
      state.folders.push(folder);
    }
    parent = folder.moref;
  }
  return parent;
}

/** The path of a folder below the datacenter's `vm` folder. */
export function folderPath(state: LabState, moref: string): string {
  const folder = state.folders.find((candidate) => candidate.moref === moref);
  if (!folder) return '';
  const parent = folderPath(state, folder.parent);
  return parent === '' ? folder.name : `${parent}/${folder.name}`;
}

/** @param vm moref or name @throws `vm_not_found` */
export function findVm(state: LabState, vm: string): VmState {
  const found = state.vms.find(({ moref }) => moref === vm) ?? state.vms.find(({ name }) => name === vm);
  if (!found) throw new SendenseError('vm_not_found', `the lab has no VM ${vm}`, { context: { vm } });
  return found;
}

/** @param snapshot moref or name @throws `not_found` */
export function findSnapshot(vm: VmState, snapshot: string): SnapshotState {
  const found =
    vm.snapshots.find(({ moref }) => moref === snapshot) ??
    vm.snapshots.find(({ name }) => name === snapshot);
  if (!found)
    throw new SendenseError('not_found', `${vm.name} has no snapshot ${snapshot}`, { context: { snapshot } });
  return found;
}

/** A folder on the datastore that no VM has yet. */
export function newVmDirectory(state: LabState, name: string, datastore: string): string {
  const base = slug(name);
  const taken = (candidate: string) =>
    state.vms.some((vm) => vm.datastore === datastore && vm.directory === candidate);
  let directory = base;
  for (let index = 1; taken(directory); index++) directory = `${base}_${index}`;
  return directory;
}
