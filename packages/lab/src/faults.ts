import { SendenseError } from '@sendense/core';
import { delay } from '@sendense/runtime';
import { findVm } from './model/inventory.js';
import type { LabState } from './model/state.js';
import type { ActiveFault, LabFault } from './types.js';
import { isVddkPlace, type FaultTable, type VddkFault, type VddkPlace } from './vddk/fault-table.js';

/** A fault that strikes a call. */
export interface StruckFault extends LabFault {
  /** Aborted when it is cleared. */
  readonly cleared: AbortSignal;
}

/**
 * Until the delay is over, or the fault cleared.
 *
 * @returns whether it still stands: one that is cleared does nothing else either
 * @throws the signal's reason
 */
export async function holdUp({ delayMs, cleared }: StruckFault, signal: AbortSignal): Promise<boolean> {
  if (delayMs === undefined) return true;
  try {
    await delay(delayMs, AbortSignal.any([signal, cleared]));
  } catch (error) {
    if (signal.aborted) throw error;
  }
  return !cleared.aborted;
}

interface Entry {
  readonly id: number;
  readonly fault: LabFault;
  /** In the table of the stand-in library; undefined for faults that strike in this process. */
  readonly slot: number | undefined;
  /** The moref of the VM that it is for. */
  readonly vm: string | undefined;
  readonly cleared: AbortController;
  passed: number;
  struck: number;
}

/** The orders to misbehave, wherever they strike. */
export class Faults {
  readonly #entries = new Map<number, Entry>();
  #nextId = 1;

  constructor(
    private readonly state: LabState,
    private readonly table: FaultTable,
  ) {}

  /** @throws `invalid_argument` · `vm_not_found` */
  set(fault: LabFault): number {
    checkFault(fault);
    const { operation } = fault;
    const vm = fault.vm === undefined ? undefined : findVm(this.state, fault.vm).moref;
    const slot = isVddkPlace(operation) ? this.table.set(vddkFault(operation, fault, vm)) : undefined;
    const entry: Entry = {
      id: this.#nextId++,
      fault,
      slot,
      vm,
      cleared: new AbortController(),
      passed: 0,
      struck: 0,
    };
    this.#entries.set(entry.id, entry);
    return entry.id;
  }

  clear(which?: number | string): void {
    for (const { id, fault, slot, cleared } of this.#entries.values()) {
      if (which !== undefined && which !== id && which !== fault.operation) continue;
      if (slot !== undefined) this.table.clear(slot);
      this.#entries.delete(id);
      cleared.abort();
    }
  }

  list(): ActiveFault[] {
    return [...this.#entries.values()].map(({ id, fault, slot, struck }) => ({
      ...fault,
      id,
      struck: slot === undefined ? struck : this.table.struck(slot),
    }));
  }

  /**
   * The faults that strike this call now, counted as having struck.
   * @param vm the moref of the VM that it is about
   */
  strike(
    operation: string,
    about: { readonly vm?: string | undefined; readonly diskKey?: number | undefined },
  ): StruckFault[] {
    return [...this.#entries.values()].flatMap((entry) => {
      const { fault } = entry;
      const api = /^[A-Z]/.test(operation);
      if (fault.operation !== operation && !(fault.operation === '*' && api)) return [];
      if (entry.vm !== undefined && entry.vm !== about.vm) return [];
      if (fault.diskKey !== undefined && fault.diskKey !== about.diskKey) return [];
      if (entry.passed < (fault.after ?? 0)) {
        entry.passed++;
        return [];
      }
      if (entry.struck >= (fault.times ?? Number.POSITIVE_INFINITY)) return [];
      entry.struck++;
      return [{ ...fault, cleared: entry.cleared.signal }];
    });
  }
}

function vddkFault(place: VddkPlace, fault: LabFault, vm: string | undefined): VddkFault {
  return {
    place,
    error: fault.fault === undefined ? 0 : Number(fault.fault),
    delayMs: fault.delayMs ?? 0,
    crash: fault.crash ?? false,
    times: fault.times,
    after: fault.after ?? 0,
    vm,
    diskKey: fault.diskKey,
    offset: fault.extent?.offset ?? 0,
    length: fault.extent?.length ?? 0,
  };
}

function checkFault(fault: LabFault): void {
  const problem = (what: string) =>
    new SendenseError('invalid_argument', `the fault for ${fault.operation}: ${what}`);
  for (const [name, value] of Object.entries({
    times: fault.times,
    after: fault.after,
    delayMs: fault.delayMs,
  })) {
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 0)) {
      throw problem(`${name} must be a whole number from 0 up`);
    }
  }
  if (fault.operation.startsWith('vddk.')) {
    if (!isVddkPlace(fault.operation)) throw problem('there is no such place in the library');
    if (fault.fault !== undefined && !/^[1-9]\d{0,8}$/.test(fault.fault))
      throw problem('fault must be a VIX error number');
  } else if (!/^([A-Z]\w*|\*|quiesce|consolidate)$/.test(fault.operation)) {
    throw problem('no such operation; name a method of the vSphere API, *, quiesce, consolidate or vddk.…');
  }
}
