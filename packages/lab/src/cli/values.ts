import { InvalidArgumentError } from 'commander';
import type { DiskSpec } from '../types.js';

// Readers of what is typed on the command line. Each throws commander's InvalidArgumentError.

const UNITS: Record<string, number> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** `4096`, `5G`, `1.5T`, `64KiB`: a number of bytes; the units are powers of 1024. */
export function bytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMGT]?)(?:iB)?$/.exec(text);
  const size = Number(match?.[1]) * (UNITS[match?.[2] ?? ''] ?? Number.NaN);
  if (!match || !Number.isSafeInteger(size)) {
    throw new InvalidArgumentError(
      'expected a number of bytes such as 4096, 64K, 512M, 5G or 1T (powers of 1024)',
    );
  }
  return size;
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('expected a whole number');
  return Number(text);
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** `SIZE[,key=2016][,controller=scsi1][,unit=3][,thick][,mode=…][,backing=…][,multi-writer][,bus-shared]` */
export function diskSpec(text: string): DiskSpec {
  const [size = '', ...options] = text.split(',');
  const spec: Mutable<DiskSpec> = { sizeBytes: bytes(size) };
  for (const option of options) {
    const [name = '', value = ''] = option.split('=');
    const read = DISK_OPTIONS[name];
    if (!read)
      throw new InvalidArgumentError(
        `unknown disk option '${name}' (${Object.keys(DISK_OPTIONS).join(', ')})`,
      );
    read(spec, value);
  }
  return spec;
}

const DISK_OPTIONS: Record<string, (spec: Mutable<DiskSpec>, value: string) => void> = {
  key: (spec, value) => {
    spec.key = wholeNumber(value);
  },
  unit: (spec, value) => {
    spec.unitNumber = wholeNumber(value);
  },
  controller: (spec, value) => {
    spec.controller = choice(
      value,
      /^(scsi|sata|nvme|ide)\d$/,
      'scsi0 … scsi3, sata0, nvme0, ide0',
    ) as `scsi${number}`;
  },
  thick: (spec) => {
    spec.thin = false;
  },
  mode: (spec, value) => {
    const modes = /^(persistent|independent_persistent|independent_nonpersistent)$/;
    spec.mode = choice(
      value,
      modes,
      'persistent, independent_persistent or independent_nonpersistent',
    ) as 'persistent';
  },
  backing: (spec, value) => {
    const backings = /^(file|physical_rdm|virtual_rdm)$/;
    spec.backing = choice(value, backings, 'file, physical_rdm or virtual_rdm') as 'file';
  },
  'multi-writer': (spec) => {
    spec.multiWriter = true;
  },
  'bus-shared': (spec) => {
    spec.busShared = true;
  },
};

function choice(value: string, allowed: RegExp, description: string): string {
  if (!allowed.test(value)) throw new InvalidArgumentError(`expected ${description}, not '${value}'`);
  return value;
}

/** For an option that may be given several times. */
export function each<T>(read: (text: string) => T): (text: string, before: T[] | undefined) => T[] {
  return (text, before = []) => [...before, read(text)];
}
