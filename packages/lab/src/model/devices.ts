import { SendenseError } from '@sendense/core';
import type { ControllerKind, DiskSpec } from '../types.js';
import type { ControllerState, DiskState, VmState } from './state.js';

/** Device keys as vSphere hands them out, by kind of controller. */
const KINDS: Record<
  ControllerKind,
  {
    readonly firstControllerKey: number;
    readonly firstDiskKey: number;
    readonly units: number;
    readonly keysPerBus: number;
    readonly buses: number;
    /** The unit that the controller itself takes. */
    readonly ownUnit?: number;
    readonly label: string;
  }
> = {
  ide: { firstControllerKey: 200, firstDiskKey: 3000, units: 2, keysPerBus: 2, buses: 2, label: 'IDE' },
  scsi: {
    firstControllerKey: 1000,
    firstDiskKey: 2000,
    units: 16,
    keysPerBus: 16,
    buses: 4,
    ownUnit: 7,
    label: 'SCSI controller',
  },
  sata: {
    firstControllerKey: 15_000,
    firstDiskKey: 16_000,
    units: 30,
    keysPerBus: 30,
    buses: 4,
    label: 'SATA controller',
  },
  nvme: {
    firstControllerKey: 31_000,
    firstDiskKey: 32_000,
    units: 15,
    keysPerBus: 15,
    buses: 4,
    label: 'NVME controller',
  },
};

export function controllerLabel({ kind, bus }: ControllerState): string {
  return `${KINDS[kind].label} ${bus}`;
}

/** Finds the controller that the spec names, or adds it to the VM. @throws `invalid_argument` */
function controllerFor(vm: VmState, name: string): ControllerState {
  const match = /^(scsi|sata|nvme|ide)(\d)$/.exec(name);
  const kind = match?.[1] as ControllerKind | undefined;
  const bus = Number(match?.[2]);
  if (!kind || bus >= KINDS[kind].buses) {
    throw new SendenseError(
      'invalid_argument',
      `no such disk controller: ${name} (scsi0 … scsi3, sata0 …, nvme0 …, ide0, ide1)`,
    );
  }
  const known = vm.controllers.find((controller) => controller.kind === kind && controller.bus === bus);
  if (known) return known;
  const added = { key: KINDS[kind].firstControllerKey + bus, kind, bus };
  vm.controllers.push(added);
  vm.controllers.sort((a, b) => a.key - b.key);
  return added;
}

function freeUnit(vm: VmState, controller: ControllerState): number {
  const { units, ownUnit } = KINDS[controller.kind];
  const taken = new Set(
    vm.disks.filter((disk) => disk.controllerKey === controller.key).map((disk) => disk.unitNumber),
  );
  for (let unit = 0; unit < units; unit++) if (unit !== ownUnit && !taken.has(unit)) return unit;
  throw new SendenseError('invalid_argument', `${controllerLabel(controller)} has no free unit`);
}

function freeLabel(vm: VmState): string {
  const label = (number: number) => `Hard disk ${number}`;
  let number = 1;
  while (vm.disks.some((disk) => disk.label === label(number))) number++;
  return label(number);
}

/** @throws `invalid_argument` */
export function checkDiskSize(sizeBytes: number): void {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes > 0 && sizeBytes % 512 === 0) return;
  throw new SendenseError(
    'invalid_argument',
    `the size of a disk must be a multiple of 512 bytes, not ${sizeBytes}`,
  );
}

/** The disk that a spec asks for, with its place in the VM. Adds its controller. @throws `invalid_argument` */
export function makeDisk(vm: VmState, spec: DiskSpec, uuid: string, fileName: string): DiskState {
  const { sizeBytes } = spec;
  checkDiskSize(sizeBytes);
  const controller = controllerFor(vm, spec.controller ?? 'scsi0');
  const { firstDiskKey, keysPerBus, units } = KINDS[controller.kind];
  const unitNumber = spec.unitNumber ?? freeUnit(vm, controller);
  const key = spec.key ?? firstDiskKey + keysPerBus * controller.bus + unitNumber;
  if (!Number.isInteger(unitNumber) || unitNumber < 0 || unitNumber >= units) {
    throw new SendenseError('invalid_argument', `${controllerLabel(controller)} has no unit ${unitNumber}`);
  }
  const clash = vm.disks.find(
    (disk) => disk.key === key || (disk.controllerKey === controller.key && disk.unitNumber === unitNumber),
  );
  if (clash) {
    throw new SendenseError(
      'already_exists',
      `${vm.name} has a disk ${clash.key} at unit ${clash.unitNumber} already`,
    );
  }
  return {
    key,
    label: freeLabel(vm),
    controllerKey: controller.key,
    unitNumber,
    uuid,
    sizeBytes,
    thin: spec.thin ?? true,
    mode: spec.mode ?? 'persistent',
    backing: spec.backing ?? 'file',
    multiWriter: spec.multiWriter ?? false,
    busShared: spec.busShared ?? false,
    fileName,
  };
}

/** Whether snapshots hold the disk. */
export function inSnapshots(
  disk: Pick<DiskState, 'mode' | 'backing' | 'multiWriter' | 'busShared'>,
): boolean {
  return (
    disk.mode === 'persistent' && disk.backing !== 'physical_rdm' && !disk.multiWriter && !disk.busShared
  );
}
