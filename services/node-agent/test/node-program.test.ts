import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { DiskBackupType, RunBackupRequest } from '@sendense/contracts';
import type { LabVm } from '@sendense/lab';
import { ChildProcess as OwnedProcess, processesOwnedBy, silentLogger } from '@sendense/runtime';
import { eventually, requires } from '@sendense/runtime/testing';
import { ownerMark } from '../src/config.js';
import { enrolNode } from '../src/index.js';
import { snapshotDescription, snapshotName } from '../src/snapshots/ownership.js';
import { LAB_TOOLS, processesOf, startStage, type Stage, type Targets } from './lab-stage.js';
import { TestClient, type Events } from './node-client.js';
import { startTestHub, type TestHub } from './test-hub.js';

const MIB = 1024 * 1024;
const PROGRAM = fileURLToPath(new URL('../src/main.js', import.meta.url));
const run = promisify(execFile);

let stage: Stage;
let hub: TestHub;
let vm: LabVm;
let dataDirectory: string;
let environment: Record<string, string>;
let jobs = 0;

requires(describe, ...LAB_TOOLS)('the program sendense-node', () => {
  beforeAll(async () => {
    stage = await startStage();
    hub = await startTestHub();
    dataDirectory = join(stage.folder, 'node');
    await enrolNode({ dataDirectory, hub: { host: hub.host, port: hub.port }, token: hub.token });
    environment = {
      ...(process.env['PATH'] ? { PATH: process.env['PATH'] } : {}),
      ...stage.environment,
      SENDENSE_DATA_DIR: dataDirectory,
      SENDENSE_RUNTIME_DIR: join(stage.folder, 'run'),
      SENDENSE_LOG_LEVEL: 'error',
      SENDENSE_LANES: '1',
      SENDENSE_VDDK_TRANSPORTS: 'san:nbd',
    };
    vm = await stage.lab.createVm({ name: 'pgtest1', disks: [{ sizeBytes: 48 * MIB }] });
    await stage.lab.guestWrite(vm.moref, 2000, { offset: 0, random: 'x', length: 40 * MIB });
  });
  afterAll(async () => {
    await hub[Symbol.asyncDispose]();
    await stage[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    expect(stage.lab.snapshots(vm.moref)).toEqual([]);
  });

  async function startNode(): Promise<ChildProcess> {
    const node = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', PROGRAM, 'run'], {
      env: environment,
      stdio: 'ignore',
    });
    await eventually('the node is connected', () => hub.tunnel.isConnected('sna1'));
    return node;
  }

  /** A backup that takes some ten seconds, begun. */
  async function slowBackup(client: TestClient, targets: Targets): Promise<Events> {
    const jobId = `slow-${++jobs}`;
    const [target] = targets.list;
    const port = target?.address.kind === 'tcp' ? target.address.port : 0;
    hub.leases.set(port, jobId);
    const job = client.backup(
      RunBackupRequest.fromPartial({
        jobId,
        vcenter: {
          endpoint: stage.lab.endpoint,
          username: stage.lab.username,
          password: stage.lab.password,
          thumbprint: stage.lab.thumbprints.sha1,
        },
        vmMoref: vm.moref,
        vmInstanceUuid: vm.instanceUuid,
        vmName: vm.name,
        rateLimitBytesPerSecond: BigInt(4 * MIB),
        disks: [
          {
            diskKey: 2000,
            backingUuid: vm.disks[0]!.uuid,
            capacityBytes: BigInt(48 * MIB),
            type: DiskBackupType.DISK_BACKUP_TYPE_FULL,
            nbdPort: port,
            nbdExportName: target!.exportName,
          },
        ],
      }),
    );
    await eventually('bytes flow', () => job.seen.some(({ event }) => event?.$case === 'progress'));
    return job;
  }

  const nothingIsLeft = () =>
    eventually(
      'snapshot and processes are gone',
      async () =>
        stage.lab.snapshots(vm.moref).length === 0 &&
        processesOwnedBy(ownerMark(dataDirectory)).length === 0 &&
        (await processesOf(stage, 'nbdkit')).length === 0,
      20_000,
    );

  it.each(['SIGKILL', 'SIGTERM'] as const)(
    'leaves no snapshot and no process when it ends by %s',
    async (signal) => {
      const node = await startNode();
      await using targets = await stage.serve(vm);
      using client = new TestClient(hub.tunnel.socketPath('sna1'));
      const job = await slowBackup(client, targets);
      node.kill(signal);
      await once(node, 'exit');
      await job.done;
      await nothingIsLeft();
    },
  );

  it('hands the VDDK transports of its settings to nbdkit', async () => {
    const node = await startNode();
    await using targets = await stage.serve(vm);
    using client = new TestClient(hub.tunnel.socketPath('sna1'));
    const job = await slowBackup(client, targets);
    const [pid] = await processesOf(stage, 'nbdkit');
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')).toContain('transports=san:nbd');
    await client.cancel(`slow-${jobs}`);
    await job.done;
    node.kill();
    await once(node, 'exit');
    await nothingIsLeft();
  });

  it('ends at its start what a killed node left', async () => {
    const orphan = await OwnedProcess.spawn('sleep', ['600'], {
      name: 'orphan',
      owner: ownerMark(dataDirectory),
      log: silentLogger,
    });
    const node = await startNode();
    expect((await orphan.exited).signal).toBe('SIGTERM');
    node.kill();
    await once(node, 'exit');
  });

  const sweep = (...more: string[]) =>
    run(
      process.execPath,
      [
        ...[
          '--disable-warning=ExperimentalWarning',
          PROGRAM,
          'sweep',
          '--vmware-endpoint',
          stage.lab.endpoint,
        ],
        ...['--vmware-username', stage.lab.username, '--vmware-password-file', stage.lab.passwordFile],
        ...['--vmware-thumbprint', stage.lab.thumbprints.sha256, ...more],
      ],
      { env: environment },
    );
  const leave = (jobId: string) =>
    stage.lab.createSnapshot(vm.moref, {
      name: snapshotName(jobId),
      description: snapshotDescription(jobId, 'sna1'),
    });

  it('sweeps by itself while no node runs', async () => {
    await leave('dead');
    const { stdout } = await sweep();
    expect(stdout).toContain('removed sendense-dead');
    expect(stdout).toContain('1 removed, 0 failed');
  });

  it('asks the running node to sweep, which spares the jobs that run', async () => {
    const node = await startNode();
    await using targets = await stage.serve(vm);
    using client = new TestClient(hub.tunnel.socketPath('sna1'));
    const job = await slowBackup(client, targets);
    await leave('dead');
    const { stdout } = await sweep('--json', '--vm', vm.moref);
    expect(JSON.parse(stdout)).toMatchObject({ removed: [{ name: 'sendense-dead' }], failed: [] });
    await client.cancel(`slow-${jobs}`);
    await job.done;
    node.kill();
    await once(node, 'exit');
    await nothingIsLeft();
  });

  it('names itself and its settings', async () => {
    const ask = async (...args: string[]) => (await run(process.execPath, [PROGRAM, ...args])).stdout;
    expect(await ask('--version')).toMatch(/^sendense-node \d+\.\d+\.\d+ \(\w/);
    expect(await ask('--help')).toContain('SENDENSE_VDDK_LIBDIR');
  });
});
