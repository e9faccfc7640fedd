import { SendenseError } from '@sendense/core';
import type { Lab } from '@sendense/lab';
import { bytesToRead } from '@sendense/nbd';
import { silentLogger } from '@sendense/runtime';
import { connectVSphere } from '@sendense/vsphere';
import { BLOCK_BYTES } from './sizes.js';

/** Between the first blocks of two extents; less would leave no gap. */
const STRIDE_BLOCKS = 6;

/**
 * How long the backup client needs to know what to read: asks the lab's vCenter for the changed areas, page after page,
 * checks and merges them, and counts what they come to. The session is there already. The lab answers from this same
 * process, so that its share is in it.
 *
 * @returns one time more than is to be counted, the first of them that of code which never ran, as in a backup client
 */
export async function measurePlanning(lab: Lab, extentCount: number, times: number): Promise<number[]> {
  const capacityBytes = extentCount * STRIDE_BLOCKS * BLOCK_BYTES;
  const { moref: vmMoref, disks } = await lab.createVm({
    name: 'scattered',
    changeTrackingEnabled: true,
    disks: [{ sizeBytes: capacityBytes }],
  });
  const diskKey = disks[0]?.key ?? 0;
  const before = await lab.createSnapshot(vmMoref, { name: 'before' });
  const changeId = before.disks[0]?.changeId ?? '';
  await lab.removeSnapshot(vmMoref, before.moref);
  const writes = Array.from({ length: extentCount }, (_, index) => {
    return { offset: index * STRIDE_BLOCKS * BLOCK_BYTES, zeros: BLOCK_BYTES };
  });
  await lab.guestWrite(vmMoref, diskKey, writes);
  const { moref: snapshotMoref } = await lab.createSnapshot(vmMoref, { name: 'after' });
  await using vcenter = await connectVSphere({
    endpoint: lab.endpoint,
    username: lab.username,
    password: lab.password,
    thumbprint: lab.thumbprints.sha256,
    log: silentLogger,
  });
  const seconds: number[] = [];
  while (seconds.length <= times) {
    const startedAt = performance.now();
    const extents = await vcenter.changedAreas({ vmMoref, snapshotMoref, diskKey, changeId, capacityBytes });
    const bytes = bytesToRead(extents, capacityBytes);
    seconds.push((performance.now() - startedAt) / 1000);
    if (extents.length !== extentCount || bytes !== extentCount * BLOCK_BYTES)
      throw new SendenseError('internal', `${extents.length} of ${extentCount} extents were found`);
  }
  await lab.removeVm(vmMoref);
  return seconds;
}
