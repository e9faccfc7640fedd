import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { SendenseError } from '@sendense/core';

const PLACES = {
  'vddk.init': 1,
  'vddk.connect': 2,
  'vddk.open': 3,
  'vddk.read': 4,
  'vddk.allocated': 5,
} as const;

export type VddkPlace = keyof typeof PLACES;

export function isVddkPlace(operation: string): operation is VddkPlace {
  return Object.hasOwn(PLACES, operation);
}

export interface VddkFault {
  readonly place: VddkPlace;
  /** A VIX error number; 0 for none. */
  readonly error: number;
  readonly delayMs: number;
  readonly crash: boolean;
  /** Undefined: for ever. */
  readonly times: number | undefined;
  readonly after: number;
  /** A moref. */
  readonly vm: string | undefined;
  readonly diskKey: number | undefined;
  readonly offset: number;
  /** 0: anywhere. */
  readonly length: number;
}

const SLOTS = 64;
const SLOT_BYTES = 128;

/** The table of faults that all processes with the stand-in library share: native/faults.c has the same layout. */
export class FaultTable {
  readonly #used = new Set<number>();

  private constructor(private readonly file: number) {}

  /** Starts empty, whatever an earlier lab ordered. */
  static create(path: string): FaultTable {
    const file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    // Never shorter for a moment: a process of an earlier lab may have it in its memory still.
    writeSync(file, Buffer.alloc(SLOTS * SLOT_BYTES), 0, SLOTS * SLOT_BYTES, 0);
    return new FaultTable(file);
  }

  /** @returns the slot that it has now */
  set(fault: VddkFault): number {
    let slot = 0;
    while (this.#used.has(slot)) slot++;
    if (slot >= SLOTS)
      throw new SendenseError('invalid_argument', `the lab holds at most ${SLOTS} faults of VDDK at once`);
    this.#used.add(slot);
    const bytes = Buffer.alloc(SLOT_BYTES);
    bytes.writeUInt32LE(fault.crash ? 1 : 0, 4);
    bytes.writeBigInt64LE(BigInt(fault.times ?? -1), 8);
    bytes.writeBigInt64LE(BigInt(fault.after), 16);
    bytes.writeBigUInt64LE(BigInt(fault.error), 32);
    bytes.writeBigUInt64LE(BigInt(fault.delayMs), 40);
    bytes.writeBigInt64LE(BigInt(fault.diskKey ?? -1), 48);
    bytes.writeBigUInt64LE(BigInt(fault.offset), 56);
    bytes.writeBigUInt64LE(BigInt(fault.length), 64);
    bytes.write(fault.vm ?? '', 72, 55, 'utf8');
    writeSync(this.file, bytes, 0, SLOT_BYTES, slot * SLOT_BYTES);
    // The place makes it count, so it comes last.
    bytes.writeUInt32LE(PLACES[fault.place], 0);
    writeSync(this.file, bytes, 0, 4, slot * SLOT_BYTES);
    return slot;
  }

  /** How often the fault in this slot has struck. */
  struck(slot: number): number {
    const bytes = Buffer.alloc(8);
    readSync(this.file, bytes, 0, 8, slot * SLOT_BYTES + 24);
    return Number(bytes.readBigUInt64LE());
  }

  clear(slot: number): void {
    writeSync(this.file, Buffer.alloc(4), 0, 4, slot * SLOT_BYTES);
    this.#used.delete(slot);
  }

  close(): void {
    closeSync(this.file);
  }
}
