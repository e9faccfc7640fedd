import { printable } from '@sendense/core';
import { readBoolean, readInteger, readSize, readText, required } from './soap/values.js';
import type { XmlElement } from './soap/xml.js';
import type { SnapshotDisk, UnsupportedDiskReason, VirtualDisk } from './types.js';

/** A virtual disk as its device describes it, whichever configuration the device belongs to. */
interface DiskDevice {
  readonly key: number;
  readonly label: string;
  readonly controllerKey: number;
  readonly unitNumber: number;
  readonly capacityBytes: number;
  readonly fileName: string;
  readonly backingUuid: string;
  readonly changeId: string | undefined;
  readonly thinProvisioned: boolean;
  readonly unsupportedReason: UnsupportedDiskReason | undefined;
}

/** The disks among the devices of a VM's configuration, by key. */
export function virtualDisks(devices: readonly XmlElement[]): VirtualDisk[] {
  return diskDevices(devices).map((disk) => ({
    key: disk.key,
    label: disk.label,
    backingUuid: disk.backingUuid,
    backingFile: disk.fileName,
    datastore: /^\[([^\]]*)\]/.exec(disk.fileName)?.[1] ?? '',
    capacityBytes: disk.capacityBytes,
    controllerKey: disk.controllerKey,
    unitNumber: disk.unitNumber,
    thinProvisioned: disk.thinProvisioned,
    ...(disk.changeId === undefined ? {} : { changeId: disk.changeId }),
    ...(disk.unsupportedReason === undefined ? {} : { unsupportedReason: disk.unsupportedReason }),
  }));
}

/** The disks among the devices of a snapshot's configuration, by key. */
export function snapshotDisks(devices: readonly XmlElement[]): SnapshotDisk[] {
  return diskDevices(devices).map((disk) => ({
    key: disk.key,
    fileName: disk.fileName,
    backingUuid: disk.backingUuid,
    capacityBytes: disk.capacityBytes,
    controllerKey: disk.controllerKey,
    unitNumber: disk.unitNumber,
    ...(disk.changeId === undefined ? {} : { changeId: disk.changeId }),
    ...(disk.unsupportedReason === undefined ? {} : { unsupportedReason: disk.unsupportedReason }),
  }));
}

function diskDevices(devices: readonly XmlElement[]): DiskDevice[] {
  const sharedControllers = new Set(devices.filter(isSharedController).map((device) => deviceKey(device)));
  return devices
    .filter((device) => device.xsiType === 'VirtualDisk')
    .map((device) => readDisk(device, sharedControllers))
    .sort((a, b) => a.key - b.key);
}

function readDisk(device: XmlElement, sharedControllers: ReadonlySet<number>): DiskDevice {
  const key = deviceKey(device);
  const controllerKey = readInteger(device.child('controllerKey')) ?? 0;
  const backing = device.child('backing');
  return {
    key,
    label: readText(device.find('deviceInfo', 'label')) ?? `disk ${key}`,
    controllerKey,
    unitNumber: readInteger(device.child('unitNumber')) ?? 0,
    capacityBytes: capacityBytes(device, key),
    fileName: readText(backing?.child('fileName')) ?? '',
    backingUuid: readText(backing?.child('uuid')) ?? '',
    changeId: readText(backing?.child('changeId')) || undefined,
    // A sparse backing (SeSparse, the hosted formats) grows by nature and carries no such flag.
    thinProvisioned: readBoolean(backing?.child('thinProvisioned')) ?? /Sparse/.test(backing?.xsiType ?? ''),
    unsupportedReason: unsupportedReason(backing, sharedControllers.has(controllerKey)),
  };
}

function deviceKey(device: XmlElement): number {
  return required(readInteger(device.child('key')), `the key of a ${printable(device.xsiType ?? 'device')}`);
}

/** Servers before vSphere 5.5, and simulators, give only KiB. */
function capacityBytes(device: XmlElement, key: number): number {
  const bytes = readSize(device.child('capacityInBytes'));
  if (bytes !== undefined && bytes > 0) return bytes;
  return required(readSize(device.child('capacityInKB')), `the capacity of disk ${key}`) * 1024;
}

/** Other VMs may write through this controller, so that no snapshot of this one could hold its disks still. */
function isSharedController(device: XmlElement): boolean {
  return ['virtualSharing', 'physicalSharing'].includes(readText(device.child('sharedBus')) ?? '');
}

function unsupportedReason(
  backing: XmlElement | undefined,
  onSharedBus: boolean,
): UnsupportedDiskReason | undefined {
  if (readText(backing?.child('compatibilityMode')) === 'physicalMode') return 'physical_rdm';
  if (readText(backing?.child('diskMode'))?.startsWith('independent')) return 'independent';
  if (onSharedBus || readText(backing?.child('sharing')) === 'sharingMultiWriter') return 'shared';
  if (!readText(backing?.child('fileName'))) return 'unsupported_backing';
  return undefined;
}
