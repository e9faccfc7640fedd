import { join } from 'node:path';
import { expect } from '@jest/globals';
import { DiskBackupType, RunBackupRequest, type VCenterConnection } from '@sendense/contracts';
import type { Lab, LabVm } from '@sendense/lab';
import { processesOwnedBy, silentLogger } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { ownerMark } from '../src/config.js';
import { createNode, enrolNode, type Node, type NodeConfig } from '../src/index.js';
import { eventsOf, processesOf, startStage, VDDK_PLUGIN, type Stage, type Targets } from './lab-stage.js';
import { TestClient, type Events } from './node-client.js';
import { startTestHub, type TestHub } from './test-hub.js';

export const MIB = 1024 * 1024;

/** For a request that is to be met in the middle. */
export const slow = { rateLimitBytesPerSecond: BigInt(4 * MIB) };

/**
 * Everything of a backup but the hub's own part: lab, node, tunnel, the node's socket on the hub's side, lanes, nbdkit and
 * qemu-nbd, all of them real.
 */
export class NodeStage implements AsyncDisposable {
  #jobs = 0;
  #node: Node | undefined;

  private constructor(
    readonly stage: Stage,
    readonly hub: TestHub,
    readonly client: TestClient,
    /** Two disks on two controllers with some data each. */
    readonly vm: LabVm,
    readonly config: NodeConfig,
  ) {}

  static async start(): Promise<NodeStage> {
    const stage = await startStage();
    const hub = await startTestHub();
    const dataDirectory = join(stage.folder, 'node');
    await enrolNode({ dataDirectory, hub: { host: hub.host, port: hub.port }, token: hub.token });
    const config: NodeConfig = {
      dataDirectory,
      runtimeDirectory: join(stage.folder, 'run'),
      logLevel: 'info',
      nbdkit: 'nbdkit',
      nbdkitVddkPlugin: VDDK_PLUGIN,
      vddkLibdir: stage.lab.vddkLibdir,
      lanes: 2,
      parallelDisks: 4,
      clientEnvironment: stage.lab.vddkEnvironment,
    };
    const vm = await createVm(stage.lab, 'pgtest1');
    const client = new TestClient(hub.tunnel.socketPath('sna1'));
    const started = new NodeStage(stage, hub, client, vm, config);
    await started.startNode();
    return started;
  }

  get lab(): Lab {
    return this.stage.lab;
  }

  async startNode(): Promise<void> {
    this.#node = await createNode(this.config, silentLogger);
    await eventually('the node is connected', () => this.hub.tunnel.isConnected('sna1'));
  }

  async stopNode(): Promise<void> {
    await this.#node?.[Symbol.asyncDispose]();
  }

  /** How requests reach the lab. */
  vcenter(): VCenterConnection {
    const { endpoint, username, password, thumbprints } = this.lab;
    return { endpoint, username, password, thumbprint: thumbprints.sha256 };
  }

  /** A full of every disk; the ports are leased to it. */
  request(targets: Targets, change: Partial<RunBackupRequest> = {}, vm = this.vm): RunBackupRequest {
    const jobId = `backup-${vm.name}-${++this.#jobs}`;
    return RunBackupRequest.fromPartial({
      jobId,
      vcenter: this.vcenter(),
      vmMoref: vm.moref,
      vmInstanceUuid: vm.instanceUuid,
      vmName: vm.name,
      enableChangeTracking: true,
      disks: targets.list.map(({ diskKey, exportName, address }) => {
        const disk = vm.disks.find(({ key }) => key === diskKey)!;
        const port = address.kind === 'tcp' ? address.port : 0;
        this.hub.leases.set(port, jobId);
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

  /** Waits until bytes of the job flow. */
  async flowing(job: Events): Promise<void> {
    await eventually('bytes flow', () =>
      eventsOf(job.seen, 'progress').some(({ disks }) => disks.some(({ bytesDone }) => bytesDone > 0n)),
    );
  }

  /** The pid of a backup client. Its command line says nothing about its job; its mark says whose it is. */
  async backupClient(): Promise<number> {
    const { pid } = await eventually('the backup client runs', () =>
      processesOwnedBy(ownerMark(this.config.dataDirectory)).find(({ command }) =>
        /node|MainThread/.test(command),
      ),
    );
    return pid;
  }

  /** Fails when a snapshot or a process is left; tidies up all the same, for the tests that follow. */
  async expectNothingLeft(): Promise<void> {
    this.lab.clearFaults();
    const left = this.lab.snapshots(this.vm.moref);
    for (const { moref } of left) await this.lab.removeSnapshot(this.vm.moref, moref);
    expect(left.map(({ name }) => name)).toEqual([]);
    await eventually(
      'every nbdkit is gone',
      async () => (await processesOf(this.stage, 'nbdkit')).length === 0,
    );
    expect(processesOwnedBy(ownerMark(this.config.dataDirectory))).toEqual([]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client[Symbol.dispose]();
    await this.stopNode();
    await this.hub[Symbol.asyncDispose]();
    await this.stage[Symbol.asyncDispose]();
  }
}

export async function createVm(lab: Lab, name: string): Promise<LabVm> {
  const vm = await lab.createVm({
    name,
    disks: [{ sizeBytes: 96 * MIB + 512 }, { sizeBytes: 32 * MIB, controller: 'scsi1' }],
    changeTrackingEnabled: true,
  });
  for (const { key } of vm.disks)
    await lab.guestWrite(vm.moref, key, { offset: 0, random: `${name} ${key}`, length: 24 * MIB });
  return vm;
}
