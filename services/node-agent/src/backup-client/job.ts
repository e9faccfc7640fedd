import type { JobFinished } from '@sendense/contracts';
import { toErrorDetail } from '@sendense/contracts/error-detail';
import { SendenseError, throwIfAborted, toSendenseError } from '@sendense/core';
import { requireNbdkit } from '@sendense/qemu';
import { OwnedStack, type Logger } from '@sendense/runtime';
import { connectVSphere } from '@sendense/vsphere';
import type { JobEventBody } from '../jobs/event-log.js';
import { prepareChangeTracking } from './change-tracking.js';
import { copyDisks } from './copy-disks.js';
import { openDelivery } from './delivery.js';
import { findVm, requireSameDisks } from './inventory.js';
import { withSnapshot } from './snapshot.js';
import type { JobPhase, JobSpec } from './spec.js';
import { sweepBeforeBackup } from './sweep-before.js';
import { requireTargets } from './targets.js';

export interface JobPorts {
  readonly log: Logger;
  readonly emit: (event: JobEventBody) => void;
  /** Settles when the agent has it in hand: only then may the phase begin. Never rejects. */
  readonly enterPhase: (phase: JobPhase) => Promise<void>;
}

/** One backup, from login to the end of its snapshot. The last event is `finished` or `failed`; never rejects. */
export async function runJob(spec: JobSpec, ports: JobPorts, signal: AbortSignal): Promise<void> {
  try {
    const totals = await backUp(spec, ports, signal);
    ports.emit({ $case: 'finished', value: totals });
  } catch (error) {
    // Whatever goes wrong after the request to stop is its effect.
    const cause = signal.aborted ? abortReason(signal) : toSendenseError(error);
    ports.emit({ $case: 'failed', value: toErrorDetail(cause) });
  }
}

async function backUp(spec: JobSpec, ports: JobPorts, signal: AbortSignal): Promise<JobFinished> {
  const { log, emit, enterPhase } = ports;
  await enterPhase('preparing');
  await using owned = new OwnedStack(log);
  const delivery = owned.use('connections to the hub', await openDelivery(spec, log, signal));
  const vcenter = owned.use('vCenter session', await connectVSphere({ ...spec.vcenter, log, signal }));
  const vm = await findVm(vcenter, spec);
  requireSameDisks(spec, vm);
  await requireTargets(spec, delivery, log, signal);
  await requireReader(spec, signal);
  const foreignSnapshots = await sweepBeforeBackup(vcenter, spec, ports);
  throwIfAborted(signal);
  const tracking = await prepareChangeTracking(vcenter, vm, spec, ports, signal);
  emit({ $case: 'changeTracking', value: tracking });
  await enterPhase('creating_snapshot');
  const totals = await withSnapshot({ vcenter, spec, foreignSnapshots, ports }, signal, (snapshot) =>
    copyDisks({ spec, ports, delivery, vcenter, snapshot, foreignSnapshots, tracking }, signal),
  );
  await enterPhase('ending');
  return totals;
}

/** What cannot be read is not worth a snapshot. @throws `nbdkit_missing` · `vddk_plugin_missing` · `vddk_library_missing` */
async function requireReader({ vddk }: JobSpec, signal: AbortSignal): Promise<void> {
  const { nbdkit: command, nbdkitVddkPlugin: plugin, vddkLibdir: libdir } = vddk;
  await requireNbdkit({ command, plugin, signal, ...(libdir === undefined ? {} : { libdir }) });
}

function abortReason(signal: AbortSignal): SendenseError {
  const reason: unknown = signal.reason;
  return reason instanceof SendenseError ? reason : new SendenseError('cancelled', 'cancelled');
}
