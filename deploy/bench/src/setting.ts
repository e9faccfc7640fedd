import type { LabVm } from '@sendense/lab';
import { OwnedStack, silentLogger } from '@sendense/runtime';
import { NODE_NAME } from '@sendense/stage';
import type { BenchOptions } from './options.js';
import { addVcenter, startPrograms, startRelayedNode, type Programs } from './programs.js';
import type { DelayingRelay } from './relay.js';
import { createWorkloadVm, describeWorkload, type Workload } from './workloads.js';

const FAR_NODE = 'far-node';

/** A VM that the hub protects. */
export interface ProtectedWorkload extends Workload {
  readonly vm: LabVm;
}

/** The programs, with the VMs that are backed up in full. */
export interface Setting extends Programs, AsyncDisposable {
  readonly workloads: readonly ProtectedWorkload[];
  /** Dense data, behind a line that can be made long. */
  readonly far: { readonly workload: ProtectedWorkload; readonly relay: DelayingRelay } | undefined;
}

/** What is backed up in full, that behind the long line last. */
export function workloadsOf(options: BenchOptions): { near: readonly Workload[]; far: Workload | undefined } {
  return {
    near: options.workloads.map((name) => describeWorkload(name, options.sizeMib)),
    far: options.roundTripsMs.length > 0 ? describeWorkload('dense', options.sizeMib) : undefined,
  };
}

/** @throws whatever keeps the programs from starting */
export async function openSetting(options: BenchOptions, say: (text: string) => void): Promise<Setting> {
  await using owned = new OwnedStack(silentLogger);
  const programs = owned.use('programs', await startPrograms(options.directory, say));
  say('writing the disks of the VMs');
  const wanted = workloadsOf(options);
  const near = await addVcenter(programs, 'near', NODE_NAME);
  const workloads: ProtectedWorkload[] = [];
  for (const workload of wanted.near) workloads.push(await protect(programs, workload, near, workload.name));

  let far: Setting['far'];
  if (wanted.far) {
    const { relay, vcenterId } = await startRelayedNode(programs, FAR_NODE);
    owned.use('relay', relay);
    far = { workload: await protect(programs, wanted.far, vcenterId, 'far'), relay };
  }
  const all = owned.move();
  const release = () => all[Symbol.asyncDispose]();
  return { ...programs, workloads, far, [Symbol.asyncDispose]: release };
}

async function protect(
  { lab, pair }: Programs,
  workload: Workload,
  vcenterId: string,
  vmName: string,
): Promise<ProtectedWorkload> {
  const vm = await createWorkloadVm(lab, workload, vmName);
  await pair.cli('vm', 'protect', vmName, '--vcenter', vcenterId);
  return { ...workload, vm };
}
