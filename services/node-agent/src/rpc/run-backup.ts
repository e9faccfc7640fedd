import {
  DiskBackupType,
  type DiskTarget,
  type RunBackupRequest,
  type RunBackupResponse,
} from '@sendense/contracts';
import { safeOffset } from '@sendense/core';
import { HASH_BLOCK_BYTES } from '@sendense/nbd';
import type { DiskSpec } from '../backup-client/spec.js';
import type { JobRequest } from '../jobs/job-registry.js';
import type { RpcContext } from './context.js';
import { capacity, diskKey, invalid, jobId, moref, optional, port, text, vcenter } from './validation.js';

/** As many channels as fill a line of 50 ms (2 MiB of window each); more only cost memory on both sides. */
const MAX_CONNECTIONS = 16;
const MAX_DISKS = 256; // four SCSI controllers with 64 disks each: vSphere's own limit
const MAX_PARALLEL_DISKS = 64;
/** 256 MiB of reading: enough for any sample, and few enough for one event. */
const MAX_AUDIT_BLOCKS = 4096;

export async function* runBackup(
  request: RunBackupRequest,
  context: RpcContext,
  signal: AbortSignal,
): AsyncGenerator<RunBackupResponse> {
  const job = await context.jobs.start(toJobRequest(request, context));
  for await (const event of job.events.watch(0, signal)) yield { event };
}

/** @throws `invalid_argument` naming the field */
export function toJobRequest(request: RunBackupRequest, context: RpcContext): JobRequest {
  const { config, enrolment, owner } = context;
  const { parallelDisks } = request;
  if (parallelDisks > MAX_PARALLEL_DISKS) throw invalid('parallel_disks', `at most ${MAX_PARALLEL_DISKS}`);
  return {
    jobId: jobId('job_id', request.jobId),
    nodeName: enrolment.nodeName,
    vcenter: vcenter(request.vcenter),
    vm: {
      moref: moref('vm_moref', request.vmMoref),
      instanceUuid: text('vm_instance_uuid', request.vmInstanceUuid, 'the instance UUID of the VM'),
      // Any name that vSphere allows; it is only shown.
      name: request.vmName === '' ? request.vmMoref : request.vmName,
    },
    disks: toDisks(request.disks),
    everyDisk: true,
    quiesce: request.quiesce,
    enableChangeTracking: request.enableChangeTracking,
    parallelDisks: parallelDisks === 0 ? config.parallelDisks : parallelDisks,
    rateLimitBytesPerSecond: safeOffset(request.rateLimitBytesPerSecond, 'rate_limit_bytes_per_second'),
    delivery: {
      kind: 'tunnel',
      hub: enrolment.hub,
      privateKeyPem: enrolment.privateKeyPem,
      lanes: config.lanes,
    },
    vddk: {
      nbdkit: config.nbdkit,
      nbdkitVddkPlugin: config.nbdkitVddkPlugin,
      ...(config.vddkLibdir === undefined ? {} : { vddkLibdir: config.vddkLibdir }),
      ...(config.vddkTransports === undefined ? {} : { vddkTransports: config.vddkTransports }),
    },
    owner,
  };
}

function toDisks(targets: readonly DiskTarget[]): DiskSpec[] {
  if (targets.length === 0 || targets.length > MAX_DISKS)
    throw invalid('disks', `from 1 to ${MAX_DISKS} disks`);
  const disks = targets.map(toDisk);
  refuseTwice('disk_key', disks, ({ key }) => key);
  refuseTwice('nbd_port', targets, ({ nbdPort }) => nbdPort);
  return disks;
}

function toDisk(target: DiskTarget, index: number): DiskSpec {
  const at = (field: string) => `disks[${index}].${field}`;
  const incremental = target.type === DiskBackupType.DISK_BACKUP_TYPE_INCREMENTAL;
  if (!incremental && target.type !== DiskBackupType.DISK_BACKUP_TYPE_FULL)
    throw invalid(at('type'), 'DISK_BACKUP_TYPE_FULL or DISK_BACKUP_TYPE_INCREMENTAL');
  if (!incremental && target.previousChangeId !== '')
    throw invalid(at('previous_change_id'), 'nothing, because the type is full');
  if (incremental && (target.previousChangeId === '*' || !target.targetHasBacking))
    throw invalid(
      at('previous_change_id'),
      'a changeId of an earlier snapshot, and a target that has a backing',
    );
  if (!incremental && target.auditBlocks.length > 0)
    throw invalid(at('audit_blocks'), 'nothing, because the type is full');
  const backingUuid = optional(at('backing_uuid'), target.backingUuid, 'the uuid of the backing');
  return {
    key: diskKey(at('disk_key'), target.diskKey),
    backingUuid,
    capacityBytes: capacity(at('capacity_bytes'), target.capacityBytes),
    ...(incremental
      ? {
          previousChangeId: text(at('previous_change_id'), target.previousChangeId, 'a changeId'),
          auditBlocks: auditBlocks(at('audit_blocks'), target),
        }
      : {}),
    distrustChangeTracking: target.distrustChangeTracking,
    target: {
      address: { kind: 'tcp', host: '127.0.0.1', port: port(at('nbd_port'), target.nbdPort) },
      exportName: text(at('nbd_export_name'), target.nbdExportName, 'an export name'),
      hasBacking: target.targetHasBacking,
      connections: Math.min(
        target.nbdConnections === 0 ? MAX_CONNECTIONS : target.nbdConnections,
        MAX_CONNECTIONS,
      ),
    },
  };
}

function auditBlocks(field: string, target: DiskTarget): number[] {
  const end = (target.capacityBytes + BigInt(HASH_BLOCK_BYTES) - 1n) / BigInt(HASH_BLOCK_BYTES);
  const ascending = target.auditBlocks.every((block, index, all) => block > (all[index - 1] ?? -1n));
  if (target.auditBlocks.length > MAX_AUDIT_BLOCKS || !ascending || (target.auditBlocks.at(-1) ?? -1n) >= end)
    throw invalid(field, `at most ${MAX_AUDIT_BLOCKS} ascending numbers of 64 KiB blocks of the disk`);
  return target.auditBlocks.map(Number);
}

function refuseTwice<T>(field: string, items: readonly T[], identify: (item: T) => number): void {
  const seen = new Set<number>();
  for (const item of items) {
    const id = identify(item);
    if (seen.has(id)) throw invalid(`disks.${field}`, `a different one for each disk, not ${id} twice`);
    seen.add(id);
  }
}
