import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { DiskBackupType, RunBackupRequest } from '@sendense/contracts';
import { errorCode } from '@sendense/core';
import type { RpcContext } from './context.js';
import { toJobRequest } from './run-backup.js';
import { vcenter } from './validation.js';

const context = {
  config: { parallelDisks: 3, lanes: 4, nbdkit: 'nbdkit', nbdkitVddkPlugin: 'vddk' },
  enrolment: {
    nodeName: 'sna1',
    hub: { host: 'h', port: 443, hostKeyFingerprint: 'SHA256:x' },
    privateKeyPem: 'k',
  },
  owner: 'node:/x',
} as unknown as RpcContext;

const thumbprint = 'AB'.repeat(32);
const connection = { endpoint: 'vc.example:443', username: 'u', password: 'p', thumbprint };

function request(change: (request: RunBackupRequest) => void = () => undefined): RunBackupRequest {
  const made = RunBackupRequest.fromPartial({
    jobId: 'backup-pgtest1-20261121-030000',
    vcenter: connection,
    vmMoref: 'vm-57',
    vmInstanceUuid: '52a1',
    vmName: 'a name/with "everything"\n🙂',
    disks: [2000, 2016].map((diskKey, index) => ({
      diskKey,
      backingUuid: `6000C29${diskKey}`,
      capacityBytes: 1n << 30n,
      type: DiskBackupType.DISK_BACKUP_TYPE_FULL,
      nbdPort: 10_100 + index,
      nbdExportName: `pgtest1-disk${index}`,
    })),
  });
  change(made);
  return made;
}

describe('a request for a backup', () => {
  it('becomes a job, with the defaults of the node', () => {
    const job = toJobRequest(request(), context);
    expect(job).toMatchObject({ parallelDisks: 3, everyDisk: true, owner: 'node:/x' });
    expect(job.disks[1]).toMatchObject({ key: 2016, target: { connections: 16, hasBacking: false } });
    expect(job.disks[1]).not.toHaveProperty('previousChangeId');
  });

  const refused: [field: string, (request: RunBackupRequest) => void][] = [
    ['job_id', (r) => (r.jobId = '../etc')],
    ['job_id', (r) => (r.jobId = '')],
    ['job_id', (r) => (r.jobId = 'a'.repeat(129))],
    ['vcenter', (r) => (r.vcenter = undefined)],
    ['vcenter.endpoint', (r) => (r.vcenter = { ...connection, endpoint: 'http://vc' })],
    ['vcenter.endpoint', (r) => (r.vcenter = { ...connection, endpoint: 'vc\nx' })],
    ['vcenter.username', (r) => (r.vcenter = { ...connection, username: '' })],
    ['vcenter.password', (r) => (r.vcenter = { ...connection, password: 'a\0b' })],
    ['vcenter.thumbprint', (r) => (r.vcenter = { ...connection, thumbprint: '' })],
    ['vcenter.thumbprint', (r) => (r.vcenter = { ...connection, thumbprint: 'xyz' })],
    ['vm_moref', (r) => (r.vmMoref = 'vm 57')],
    ['vm_instance_uuid', (r) => (r.vmInstanceUuid = '')],
    ['disks', (r) => (r.disks = [])],
    ['disks.disk_key', (r) => (r.disks[1]!.diskKey = 2000)],
    ['disks.nbd_port', (r) => (r.disks[1]!.nbdPort = 10_100)],
    ['disks[0].disk_key', (r) => (r.disks[0]!.diskKey = -1)],
    ['disks[0].capacity_bytes', (r) => (r.disks[0]!.capacityBytes = 0n)],
    ['disks[0].capacity_bytes', (r) => (r.disks[0]!.capacityBytes = 1000n)],
    ['disks[0].capacity_bytes', (r) => (r.disks[0]!.capacityBytes = 1n << 60n)],
    ['disks[0].type', (r) => (r.disks[0]!.type = DiskBackupType.DISK_BACKUP_TYPE_UNSPECIFIED)],
    ['disks[0].previous_change_id', (r) => (r.disks[0]!.previousChangeId = '52/1')],
    ['disks[0].nbd_port', (r) => (r.disks[0]!.nbdPort = 0)],
    ['disks[0].nbd_export_name', (r) => (r.disks[0]!.nbdExportName = 'a\nb')],
    ['disks[0].audit_blocks', (r) => (r.disks[0]!.auditBlocks = [0n])],
    ['parallel_disks', (r) => (r.parallelDisks = 65)],
  ];
  it.each(refused)('names the field: %s', (field, change) => {
    let thrown: unknown;
    try {
      toJobRequest(request(change), context);
    } catch (error) {
      thrown = error;
    }
    expect(errorCode(thrown)).toBe('invalid_argument');
    expect((thrown as { context: unknown }).context).toEqual({ field });
  });

  it('takes an incremental only with a changeId and a target that lies on the previous image', () => {
    const incremental = (previousChangeId: string, targetHasBacking: boolean) => () =>
      toJobRequest(
        request((r) =>
          Object.assign(r.disks[0]!, {
            type: DiskBackupType.DISK_BACKUP_TYPE_INCREMENTAL,
            previousChangeId,
            targetHasBacking,
          }),
        ),
        context,
      );
    expect(incremental('52 3c/446', true)().disks[0]).toMatchObject({ previousChangeId: '52 3c/446' });
    for (const wrong of [incremental('', true), incremental('*', true), incremental('52/1', false)])
      expect(wrong).toThrow(expect.objectContaining({ code: 'invalid_argument' }));
  });

  it('takes blocks for the audit that ascend, are inside the disk, and are not too many', () => {
    const last = (1n << 30n) / 65_536n;
    const audit =
      (auditBlocks: bigint[], capacityBytes = 1n << 30n) =>
      () =>
        toJobRequest(
          request((r) =>
            Object.assign(r.disks[0]!, {
              type: DiskBackupType.DISK_BACKUP_TYPE_INCREMENTAL,
              previousChangeId: '52/1',
              targetHasBacking: true,
              capacityBytes,
              auditBlocks,
            }),
          ),
          context,
        ).disks[0]!.auditBlocks;
    expect(audit([])()).toEqual([]);
    expect(audit([0n, 7n, last - 1n])()).toEqual([0, 7, Number(last) - 1]);
    // The last block of a disk may be short.
    expect(audit([last], (1n << 30n) + 512n)()).toEqual([Number(last)]);
    const numbers = (count: number) => Array.from({ length: count }, (_, index) => BigInt(index));
    expect(audit(numbers(4096))()).toHaveLength(4096);
    const wrong = [[7n, 3n], [3n, 3n], [last], [2n ** 64n - 1n], [-1n], numbers(4097)];
    for (const blocks of wrong)
      expect(audit(blocks)).toThrow(
        expect.objectContaining({ code: 'invalid_argument', context: { field: 'disks[0].audit_blocks' } }),
      );
  });

  it('takes the forms in which people write an endpoint and a thumbprint', () => {
    for (const endpoint of ['vc', 'vc.example:8989', 'https://10.0.0.1', 'https://[fd00::1]:443/sdk'])
      expect(vcenter({ ...connection, endpoint }).endpoint).toBe(endpoint);
    const colons = thumbprint.match(/../g)!.join(':');
    expect(vcenter({ ...connection, thumbprint: colons }).thumbprint).toBe(colons);
    expect(vcenter({ ...connection, thumbprint: '' }, { thumbprint: false }).thumbprint).toBe('');
  });

  it('either refuses what strangers send, naming a field, or takes it without a control character', () => {
    const anything = fc.record({
      jobId: fc.string(),
      vmMoref: fc.string(),
      vmInstanceUuid: fc.string(),
      vcenter: fc.record({
        endpoint: fc.string(),
        username: fc.string(),
        password: fc.string(),
        thumbprint: fc.oneof(fc.string(), fc.constant(thumbprint)),
      }),
      parallelDisks: fc.nat(),
      rateLimitBytesPerSecond: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    });
    fc.assert(
      fc.property(anything, (wild) => {
        try {
          const job = toJobRequest({ ...request(), ...wild }, context);
          const shown = [job.jobId, job.vm.moref, job.vm.instanceUuid, job.vcenter.endpoint].join('');
          expect(shown).not.toMatch(/\p{Cc}/u);
        } catch (error) {
          expect(errorCode(error)).toBe('invalid_argument');
        }
      }),
    );
  });
});
