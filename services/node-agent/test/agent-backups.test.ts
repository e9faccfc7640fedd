import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import {
  DiskBackupType,
  type ListJobsResponse,
  type ReadBlockHashesResponse,
  type RunBackupRequest,
} from '@sendense/contracts';
import { verifyBlockHashesFile } from '@sendense/nbd';
import { eventually, requires } from '@sendense/runtime/testing';
import { eventsOf, LAB_TOOLS } from './lab-stage.js';
import { failure } from './node-client.js';
import { createVm, MIB, NodeStage } from './node-stage.js';

let at: NodeStage;

requires(describe, ...LAB_TOOLS)('a node that backs up through the tunnel', () => {
  beforeAll(async () => {
    at = await NodeStage.start();
  });
  afterAll(async () => {
    await at[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    await at.expectNothingLeft();
  });

  it('copies every disk, one snapshot created and none left', async () => {
    const before = at.lab.snapshotHistory(at.vm.moref);
    await using targets = await at.stage.serve(at.vm);
    const job = at.client.backup(at.request(targets));
    expect(await job.done).toBeUndefined();
    expect(failure(job)).toBeUndefined();
    expect(job.names[0]).toBe('accepted');
    expect(job.names.at(-1)).toBe('finished');
    const [snapshot] = eventsOf(job.seen, 'snapshotCreated');
    expect(await at.stage.compare(at.vm, targets, snapshot!.moref)).toEqual({
      2000: true,
      [at.vm.disks[1]!.key]: true,
    });
    const after = at.lab.snapshotHistory(at.vm.moref);
    expect([after.created - before.created, after.removed - before.removed]).toEqual([1, 1]);
  });

  it('backs up several VMs at the same time', async () => {
    const vms = await Promise.all(['a', 'b', 'c'].map((name) => createVm(at.lab, name)));
    const results = await Promise.all(
      vms.map(async (vm) => {
        await using targets = await at.stage.serve(vm);
        const job = at.client.backup(at.request(targets, {}, vm));
        await job.done;
        const [snapshot] = eventsOf(job.seen, 'snapshotCreated');
        const same = await at.stage.compare(vm, targets, snapshot!.moref);
        return { failed: failure(job), same: Object.values(same), left: at.lab.snapshots(vm.moref) };
      }),
    );
    const good = { failed: undefined, same: [true, true], left: [] };
    expect(results).toEqual([good, good, good]);
  });

  it('hands the block hashes out until the job is forgotten', async () => {
    await using targets = await at.stage.serve(at.vm);
    const asked = at.request(targets);
    const job = at.client.backup(asked);
    await job.done;
    const path = join(at.stage.folder, 'fetched.hashes');
    const chunks: Buffer[] = [];
    for await (const { chunk } of at.client.grpc.readBlockHashes({
      jobId: asked.jobId,
      diskKey: 2000,
    }) as AsyncIterable<ReadBlockHashesResponse>)
      chunks.push(chunk);
    writeFileSync(path, Buffer.concat(chunks));
    const summary = await verifyBlockHashesFile(path);
    const [finished] = eventsOf(job.seen, 'diskFinished').filter(({ diskKey }) => diskKey === 2000);
    expect(BigInt(summary.dataBlocks + summary.zeroBlocks)).toBe(finished!.hashedBlocks);
    await at.client.call((answer) => at.client.grpc.forgetJob({ jobId: asked.jobId }, answer));
    const { jobs } = await at.client.call<ListJobsResponse>((answer) => at.client.grpc.listJobs({}, answer));
    expect(jobs.map(({ jobId }) => jobId)).not.toContain(asked.jobId);
  });

  it('copies only what changed onto an overlay', async () => {
    const full = await at.stage.serve(at.vm);
    const base = at.client.backup(at.request(full));
    await base.done;
    await full[Symbol.asyncDispose]();
    const [created] = eventsOf(base.seen, 'snapshotCreated');
    await at.lab.guestWrite(at.vm.moref, 2000, [
      { offset: 2 * MIB, zeros: MIB },
      { offset: 50 * MIB, random: 'new', length: 100_000 },
    ]);
    await using overlays = await at.stage.serve(at.vm, full);
    const asked = at.request(overlays);
    for (const disk of asked.disks) {
      disk.type = DiskBackupType.DISK_BACKUP_TYPE_INCREMENTAL;
      disk.previousChangeId = created!.changeIds.find(({ diskKey }) => diskKey === disk.diskKey)!.changeId;
      disk.targetHasBacking = true;
    }
    const job = at.client.backup(asked);
    await job.done;
    expect(failure(job)).toBeUndefined();
    const [snapshot] = eventsOf(job.seen, 'snapshotCreated');
    expect(await at.stage.compare(at.vm, overlays, snapshot!.moref)).toEqual({
      2000: true,
      [at.vm.disks[1]!.key]: true,
    });
    expect(eventsOf(job.seen, 'finished')[0]!.bytesRead).toBeLessThan(2n * BigInt(MIB));
  });

  it('refuses when the disks are not those of the plan', async () => {
    await using targets = await at.stage.serve(at.vm);
    const wrong: [string, (request: RunBackupRequest) => void][] = [
      ['another backing', (asked) => (asked.disks[0]!.backingUuid = '6000C29f-0000')],
      ['another size', (asked) => (asked.disks[0]!.capacityBytes = 512n)],
      ['was added', (asked) => asked.disks.pop()],
    ];
    for (const [what, change] of wrong) {
      const asked = at.request(targets);
      change(asked);
      const job = at.client.backup(asked);
      await job.done;
      expect(failure(job)).toMatchObject({
        code: 'disk_set_changed',
        message: expect.stringContaining(what),
      });
    }
  });

  it('keeps the memory of a backup client below 200 MiB', async () => {
    await using targets = await at.stage.serve(at.vm);
    const job = at.client.backup(at.request(targets));
    const pid = await at.backupClient();
    let peakKiB = 0;
    await eventually('it has ended', () => {
      try {
        peakKiB = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? peakKiB);
      } catch {
        return true;
      }
      return false;
    });
    await job.done;
    expect(failure(job)).toBeUndefined();
    // It was seen at all.
    expect(peakKiB).toBeGreaterThan(20 * 1024);
    expect(peakKiB).toBeLessThan(200 * 1024);
  });
});
