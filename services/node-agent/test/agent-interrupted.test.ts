import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { ListJobsResponse, SweepSnapshotsResponse } from '@sendense/contracts';
import { eventually, requires } from '@sendense/runtime/testing';
import { snapshotDescription } from '../src/snapshots/ownership.js';
import { eventsOf, LAB_TOOLS } from './lab-stage.js';
import { failure } from './node-client.js';
import { NodeStage, slow } from './node-stage.js';

let at: NodeStage;

requires(describe, ...LAB_TOOLS)('a backup of a node that is interrupted', () => {
  beforeAll(async () => {
    at = await NodeStage.start();
  });
  afterAll(async () => {
    await at[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    await at.expectNothingLeft();
  });

  it('cancels in the middle, and answers other calls meanwhile', async () => {
    await using targets = await at.stage.serve(at.vm);
    const asked = at.request(targets, slow);
    const job = at.client.backup(asked);
    await at.flowing(job);
    const { jobs } = await at.client.call<ListJobsResponse>((answer) => at.client.grpc.listJobs({}, answer));
    expect(jobs).toContainEqual(expect.objectContaining({ jobId: asked.jobId, state: 'running' }));
    await at.client.cancel(asked.jobId, 'the window closes');
    await job.done;
    expect(failure(job)).toMatchObject({
      code: 'cancelled',
      message: expect.stringContaining('the window closes'),
    });
    expect(job.names).toContain('snapshotRemoved');
  });

  it.each(['CreateSnapshot_Task', 'RemoveSnapshot_Task'])(
    'cancels while vCenter is busy with %s',
    async (operation) => {
      await using targets = await at.stage.serve(at.vm);
      at.lab.setFault({ operation, delayMs: 1500, times: 1 });
      const asked = at.request(targets);
      const calls = at.lab.journal().operations[operation] ?? 0;
      const job = at.client.backup(asked);
      await eventually('vCenter was asked', () => (at.lab.journal().operations[operation] ?? 0) > calls);
      await at.client.cancel(asked.jobId);
      await job.done;
      expect(failure(job)?.code ?? 'finished').toBe(
        operation === 'CreateSnapshot_Task' ? 'cancelled' : 'finished',
      );
    },
  );

  it('removes the snapshot of a backup client that was killed', async () => {
    await using targets = await at.stage.serve(at.vm);
    const job = at.client.backup(at.request(targets, slow));
    await at.flowing(job);
    process.kill(await at.backupClient(), 'SIGKILL');
    await job.done;
    expect(job.names.slice(-2)).toEqual(['snapshotRemoved', 'failed']);
    expect(failure(job)).toMatchObject({
      code: 'process_failed',
      message: expect.stringContaining('SIGKILL'),
    });
  });

  it('waits for the snapshot that a backup client was creating when it was killed', async () => {
    await using targets = await at.stage.serve(at.vm);
    at.lab.setFault({ operation: 'CreateSnapshot_Task', delayMs: 1500, times: 1 });
    const calls = at.lab.journal().operations['CreateSnapshot_Task'] ?? 0;
    const job = at.client.backup(at.request(targets));
    await eventually(
      'vCenter was asked',
      () => (at.lab.journal().operations['CreateSnapshot_Task'] ?? 0) > calls,
    );
    process.kill(await at.backupClient(), 'SIGKILL');
    await job.done;
    expect(failure(job)).toMatchObject({ code: 'process_failed' });
  });

  it('warns when the snapshot of a dead client cannot be removed, and sweeps it when asked', async () => {
    await using targets = await at.stage.serve(at.vm);
    const asked = at.request(targets, slow);
    const job = at.client.backup(asked);
    await at.flowing(job);
    at.lab.setFault({ operation: 'RemoveSnapshot_Task', fault: 'GenericVmConfigFault' });
    process.kill(await at.backupClient(), 'SIGKILL');
    await job.done;
    expect(eventsOf(job.seen, 'warning')).toMatchObject([{ code: 'snapshot_remove_failed' }]);
    expect(at.lab.snapshots(at.vm.moref)).toHaveLength(1);
    at.lab.clearFaults();
    await at.lab.createSnapshot(at.vm.moref, { name: 'before update', description: 'by the administrator' });
    await at.lab.createSnapshot(at.vm.moref, {
      name: 'sendense-elsewhere',
      description: snapshotDescription('elsewhere', 'sna2'),
    });
    const swept = await at.client.call<SweepSnapshotsResponse>((answer) =>
      at.client.grpc.sweepSnapshots({ vcenter: asked.vcenter, vmMoref: '' }, answer),
    );
    expect(swept.removed.map(({ name }) => name)).toEqual([`sendense-${asked.jobId}`]);
    expect(at.lab.snapshots(at.vm.moref).map(({ name }) => name)).toEqual([
      'before update',
      'sendense-elsewhere',
    ]);
    for (const { moref } of at.lab.snapshots(at.vm.moref)) await at.lab.removeSnapshot(at.vm.moref, moref);
  });

  it('sweeps nothing of a job that runs', async () => {
    await using targets = await at.stage.serve(at.vm);
    const asked = at.request(targets, slow);
    const job = at.client.backup(asked);
    await at.flowing(job);
    const swept = await at.client.call<SweepSnapshotsResponse>((answer) =>
      at.client.grpc.sweepSnapshots({ vcenter: asked.vcenter, vmMoref: at.vm.moref }, answer),
    );
    expect(swept).toEqual({ removed: [], failed: [] });
    await at.client.cancel(asked.jobId);
    await job.done;
  });

  it('says that the hub took a port back, or that the tunnel was cut', async () => {
    await using targets = await at.stage.serve(at.vm);
    const asked = at.request(targets, slow);
    const job = at.client.backup(asked);
    await at.flowing(job);
    await at.hub.tunnel.revokeJob(asked.jobId);
    await job.done;
    expect(failure(job)).toMatchObject({ code: expect.stringMatching(/tunnel_lost|nbd_connection_lost/) });
    const unleased = at.request(targets);
    at.hub.leases.clear();
    const refused = at.client.backup(unleased);
    await refused.done;
    expect(failure(refused)).toMatchObject({ code: 'permission_denied' });
  });

  it('cancels its jobs and removes their snapshots when it stops, and has forgotten them when it starts', async () => {
    await using targets = await at.stage.serve(at.vm);
    const asked = at.request(targets, slow);
    const job = at.client.backup(asked);
    await at.flowing(job);
    await at.stopNode();
    await job.done;
    expect(failure(job)).toMatchObject({ code: 'shutting_down' });
    await at.startNode();
    await expect(at.client.watch(asked.jobId, 0n).done).resolves.toMatchObject({ code: 'job_not_found' });
  });
});
