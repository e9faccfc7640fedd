import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import {
  DiskBackupType,
  RunBackupRequest,
  type ListJobsResponse,
  type ReadBlockHashesResponse,
  type SweepSnapshotsResponse,
} from '@sendense/contracts';
import type { LabVm } from '@sendense/lab';
import { verifyBlockHashesFile } from '@sendense/nbd';
import { processesOwnedBy, silentLogger } from '@sendense/runtime';
import { eventually, requires } from '@sendense/runtime/testing';
import { ownerMark } from '../src/config.js';
import { createNode, enrolNode, type Node, type NodeConfig } from '../src/index.js';
import { snapshotDescription } from '../src/snapshots/ownership.js';
import { eventsOf, LAB_TOOLS, processesOf, startStage, type Stage, type Targets } from './lab-stage.js';
import { failure, TestClient, type Events } from './node-client.js';
import { startTestHub, type TestHub } from './test-hub.js';

const MIB = 1024 * 1024;

let stage: Stage;
let hub: TestHub;
let node: Node;
let config: NodeConfig;
let client: TestClient;
let vm: LabVm;
let jobs = 0;

/** Everything but the hub itself: the hub's socket of the node, the tunnel, lanes, nbdkit, the lab and qemu-nbd. */
requires(describe, ...LAB_TOOLS)('a node that backs up through the tunnel', () => {
  beforeAll(async () => {
    stage = await startStage();
    hub = await startTestHub();
    const dataDirectory = join(stage.folder, 'node');
    await enrolNode({ dataDirectory, hub: { host: hub.host, port: hub.port }, token: hub.token });
    config = {
      dataDirectory,
      runtimeDirectory: join(stage.folder, 'run'),
      logLevel: 'info',
      nbdkit: 'nbdkit',
      nbdkitVddkPlugin: process.env['SENDENSE_NBDKIT_VDDK_PLUGIN'] ?? 'vddk',
      vddkLibdir: stage.lab.vddkLibdir,
      lanes: 2,
      parallelDisks: 4,
      clientEnvironment: stage.lab.vddkEnvironment,
    };
    node = await createNode(config, silentLogger);
    await eventually('the node is connected', () => hub.tunnel.isConnected('sna1'));
    client = new TestClient(hub.tunnel.socketPath('sna1'));
    vm = await stage.lab.createVm({
      name: 'pgtest1',
      disks: [{ sizeBytes: 96 * MIB + 512 }, { sizeBytes: 32 * MIB, controller: 'scsi1' }],
    });
    for (const { key } of vm.disks)
      await stage.lab.guestWrite(vm.moref, key, { offset: 0, random: String(key), length: 24 * MIB });
  });
  afterAll(async () => {
    client[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
    await hub[Symbol.asyncDispose]();
    await stage[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    stage.lab.clearFaults();
    const left = stage.lab.snapshots(vm.moref);
    for (const { moref } of left) await stage.lab.removeSnapshot(vm.moref, moref);
    expect(left.map(({ name }) => name)).toEqual([]);
    await eventually('every process is gone', async () => (await processesOf(stage, 'nbdkit')).length === 0);
    expect(processesOwnedBy(ownerMark(config.dataDirectory))).toEqual([]);
  });

  function request(targets: Targets, change: Partial<RunBackupRequest> = {}): RunBackupRequest {
    const jobId = `backup-pgtest1-${++jobs}`;
    return RunBackupRequest.fromPartial({
      jobId,
      vcenter: {
        endpoint: stage.lab.endpoint,
        username: stage.lab.username,
        password: stage.lab.password,
        thumbprint: stage.lab.thumbprints.sha256,
      },
      vmMoref: vm.moref,
      vmInstanceUuid: vm.instanceUuid,
      vmName: vm.name,
      enableChangeTracking: true,
      disks: targets.list.map(({ diskKey, exportName, address }) => {
        const disk = vm.disks.find(({ key }) => key === diskKey)!;
        const port = address.kind === 'tcp' ? address.port : 0;
        hub.leases.set(port, jobId);
        return {
          diskKey,
          backingUuid: disk.uuid,
          capacityBytes: BigInt(disk.sizeBytes),
          type: DiskBackupType.DISK_BACKUP_TYPE_FULL,
          nbdPort: port,
          nbdExportName: exportName,
        };
      }),
      ...change,
    });
  }

  const slow = { rateLimitBytesPerSecond: BigInt(4 * MIB) };
  const flowing = (job: Events) =>
    eventually('bytes flow', () =>
      eventsOf(job.seen, 'progress').some(({ disks }) => disks.some(({ bytesDone }) => bytesDone > 0n)),
    );
  /** Its command line says nothing about its job; its mark says whose it is. */
  const backupClient = () =>
    eventually('the backup client runs', () =>
      processesOwnedBy(ownerMark(config.dataDirectory)).find(({ command }) =>
        /node|MainThread/.test(command),
      ),
    );

  it('copies every disk, one snapshot created and none left', async () => {
    const before = stage.lab.snapshotHistory(vm.moref);
    await using targets = await stage.serve(vm);
    const job = client.backup(request(targets));
    expect(await job.done).toBeUndefined();
    expect(failure(job)).toBeUndefined();
    expect(job.names[0]).toBe('accepted');
    expect(job.names.at(-1)).toBe('finished');
    const [snapshot] = eventsOf(job.seen, 'snapshotCreated');
    expect(await stage.compare(vm, targets, snapshot!.moref)).toEqual({
      2000: true,
      [vm.disks[1]!.key]: true,
    });
    const after = stage.lab.snapshotHistory(vm.moref);
    expect([after.created - before.created, after.removed - before.removed]).toEqual([1, 1]);
  });

  it('hands the block hashes out until the job is forgotten', async () => {
    await using targets = await stage.serve(vm);
    const asked = request(targets);
    const job = client.backup(asked);
    await job.done;
    const path = join(stage.folder, 'fetched.hashes');
    const chunks: Buffer[] = [];
    for await (const { chunk } of client.grpc.readBlockHashes({
      jobId: asked.jobId,
      diskKey: 2000,
    }) as AsyncIterable<ReadBlockHashesResponse>)
      chunks.push(chunk);
    writeFileSync(path, Buffer.concat(chunks));
    const summary = await verifyBlockHashesFile(path);
    const [finished] = eventsOf(job.seen, 'diskFinished').filter(({ diskKey }) => diskKey === 2000);
    expect(BigInt(summary.dataBlocks + summary.zeroBlocks)).toBe(finished!.hashedBlocks);
    await client.call((answer) => client.grpc.forgetJob({ jobId: asked.jobId }, answer));
    const { jobs } = await client.call<ListJobsResponse>((answer) => client.grpc.listJobs({}, answer));
    expect(jobs.map(({ jobId }) => jobId)).not.toContain(asked.jobId);
  });

  it('copies only what changed onto an overlay', async () => {
    const full = await stage.serve(vm);
    const base = client.backup(request(full));
    await base.done;
    await full[Symbol.asyncDispose]();
    const [created] = eventsOf(base.seen, 'snapshotCreated');
    await stage.lab.guestWrite(vm.moref, 2000, [
      { offset: 2 * MIB, zeros: MIB },
      { offset: 50 * MIB, random: 'new', length: 100_000 },
    ]);
    await using overlays = await stage.serve(vm, full);
    const asked = request(overlays);
    for (const disk of asked.disks) {
      disk.type = DiskBackupType.DISK_BACKUP_TYPE_INCREMENTAL;
      disk.previousChangeId = created!.changeIds.find(({ diskKey }) => diskKey === disk.diskKey)!.changeId;
      disk.targetHasBacking = true;
    }
    const job = client.backup(asked);
    await job.done;
    expect(failure(job)).toBeUndefined();
    const [snapshot] = eventsOf(job.seen, 'snapshotCreated');
    expect(await stage.compare(vm, overlays, snapshot!.moref)).toEqual({
      2000: true,
      [vm.disks[1]!.key]: true,
    });
    expect(eventsOf(job.seen, 'finished')[0]!.bytesRead).toBeLessThan(2n * BigInt(MIB));
  });

  it('says that a changeId is worth nothing any more, so that the hub takes a full', async () => {
    await using targets = await stage.serve(vm);
    const asked = request(targets);
    for (const disk of asked.disks) {
      disk.type = DiskBackupType.DISK_BACKUP_TYPE_INCREMENTAL;
      disk.previousChangeId = '52 00 00 00 00 00 00 00-00 00 00 00 00 00 00 00/1';
      disk.targetHasBacking = true;
    }
    const job = client.backup(asked);
    await job.done;
    expect(failure(job)).toMatchObject({ code: 'changed_areas_unavailable' });
  });

  it('refuses when the disks are not those of the plan', async () => {
    await using targets = await stage.serve(vm);
    const wrong: [string, (request: RunBackupRequest) => void][] = [
      ['another backing', (asked) => (asked.disks[0]!.backingUuid = '6000C29f-0000')],
      ['another size', (asked) => (asked.disks[0]!.capacityBytes = 512n)],
      ['was added', (asked) => asked.disks.pop()],
    ];
    for (const [what, change] of wrong) {
      const asked = request(targets);
      change(asked);
      const job = client.backup(asked);
      await job.done;
      expect(failure(job)).toMatchObject({
        code: 'disk_set_changed',
        message: expect.stringContaining(what),
      });
    }
  });

  it('cancels in the middle, and answers other calls meanwhile', async () => {
    await using targets = await stage.serve(vm);
    const asked = request(targets, slow);
    const job = client.backup(asked);
    await flowing(job);
    const began = Date.now();
    await client.call<ListJobsResponse>((answer) => client.grpc.listJobs({}, answer));
    expect(Date.now() - began).toBeLessThan(500);
    await client.cancel(asked.jobId, 'the window closes');
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
      await using targets = await stage.serve(vm);
      stage.lab.setFault({ operation, delayMs: 1500, times: 1 });
      const asked = request(targets);
      const calls = stage.lab.journal().operations[operation] ?? 0;
      const job = client.backup(asked);
      await eventually('vCenter was asked', () => (stage.lab.journal().operations[operation] ?? 0) > calls);
      await client.cancel(asked.jobId);
      await job.done;
      expect(failure(job)?.code ?? 'finished').toBe(
        operation === 'CreateSnapshot_Task' ? 'cancelled' : 'finished',
      );
    },
  );

  it('removes the snapshot of a backup client that was killed', async () => {
    await using targets = await stage.serve(vm);
    const job = client.backup(request(targets, slow));
    await flowing(job);
    process.kill((await backupClient()).pid, 'SIGKILL');
    await job.done;
    expect(job.names.slice(-2)).toEqual(['snapshotRemoved', 'failed']);
    expect(failure(job)).toMatchObject({
      code: 'process_failed',
      message: expect.stringContaining('SIGKILL'),
    });
  });

  it('waits for the snapshot that a backup client was creating when it was killed', async () => {
    await using targets = await stage.serve(vm);
    stage.lab.setFault({ operation: 'CreateSnapshot_Task', delayMs: 1500, times: 1 });
    const calls = stage.lab.journal().operations['CreateSnapshot_Task'] ?? 0;
    const job = client.backup(request(targets));
    await eventually(
      'vCenter was asked',
      () => (stage.lab.journal().operations['CreateSnapshot_Task'] ?? 0) > calls,
    );
    process.kill((await backupClient()).pid, 'SIGKILL');
    await job.done;
    expect(failure(job)).toMatchObject({ code: 'process_failed' });
  });

  it('warns when the snapshot of a dead client cannot be removed, and sweeps it when asked', async () => {
    await using targets = await stage.serve(vm);
    const asked = request(targets, slow);
    const job = client.backup(asked);
    await flowing(job);
    stage.lab.setFault({ operation: 'RemoveSnapshot_Task', fault: 'GenericVmConfigFault' });
    process.kill((await backupClient()).pid, 'SIGKILL');
    await job.done;
    expect(eventsOf(job.seen, 'warning')).toMatchObject([{ code: 'snapshot_remove_failed' }]);
    expect(stage.lab.snapshots(vm.moref)).toHaveLength(1);
    stage.lab.clearFaults();
    await stage.lab.createSnapshot(vm.moref, { name: 'before update', description: 'by the administrator' });
    await stage.lab.createSnapshot(vm.moref, {
      name: 'sendense-elsewhere',
      description: snapshotDescription('elsewhere', 'sna2'),
    });
    const swept = await client.call<SweepSnapshotsResponse>((answer) =>
      client.grpc.sweepSnapshots({ vcenter: asked.vcenter, vmMoref: '' }, answer),
    );
    expect(swept.removed.map(({ name }) => name)).toEqual([`sendense-${asked.jobId}`]);
    expect(stage.lab.snapshots(vm.moref).map(({ name }) => name)).toEqual([
      'before update',
      'sendense-elsewhere',
    ]);
    for (const { moref } of stage.lab.snapshots(vm.moref)) await stage.lab.removeSnapshot(vm.moref, moref);
  });

  it('sweeps nothing of a job that runs', async () => {
    await using targets = await stage.serve(vm);
    const asked = request(targets, slow);
    const job = client.backup(asked);
    await flowing(job);
    const swept = await client.call<SweepSnapshotsResponse>((answer) =>
      client.grpc.sweepSnapshots({ vcenter: asked.vcenter, vmMoref: vm.moref }, answer),
    );
    expect(swept).toEqual({ removed: [], failed: [] });
    await client.cancel(asked.jobId);
    await job.done;
  });

  it('says that the hub took a port back, or that the tunnel was cut', async () => {
    await using targets = await stage.serve(vm);
    const asked = request(targets, slow);
    const job = client.backup(asked);
    await flowing(job);
    await hub.tunnel.revokeJob(asked.jobId);
    await job.done;
    expect(failure(job)).toMatchObject({ code: expect.stringMatching(/tunnel_lost|nbd_connection_lost/) });
    const unleased = request(targets);
    hub.leases.clear();
    const refused = client.backup(unleased);
    await refused.done;
    expect(failure(refused)).toMatchObject({ code: 'permission_denied' });
  });

  it('cancels its jobs and removes their snapshots when it stops, and has forgotten them when it starts', async () => {
    await using targets = await stage.serve(vm);
    const asked = request(targets, slow);
    const job = client.backup(asked);
    await flowing(job);
    await node[Symbol.asyncDispose]();
    await job.done;
    expect(failure(job)).toMatchObject({ code: 'shutting_down' });
    node = await createNode(config, silentLogger);
    await eventually('the node is connected', () => hub.tunnel.isConnected('sna1'));
    await expect(client.watch(asked.jobId, 0n).done).resolves.toMatchObject({ code: 'job_not_found' });
  });

  it('keeps the memory of a backup client below 200 MiB', async () => {
    await using targets = await stage.serve(vm);
    const job = client.backup(request(targets));
    const { pid } = await backupClient();
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
    expect(peakKiB).toBeLessThan(200 * 1024);
  });
});
