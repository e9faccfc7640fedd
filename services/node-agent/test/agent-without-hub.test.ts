import { createServer, type Server, type Socket } from 'node:net';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { DiskBackupType, RunBackupRequest, type ListJobsResponse } from '@sendense/contracts';
import { processesOwnedBy, silentLogger } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { ownerMark } from '../src/config.js';
import { enrolmentPath } from '../src/enrolment/enrolment.js';
import { createNode, type Node } from '../src/index.js';
import { enrolledNode, type NodeFolders } from './enrolled-node.js';
import { failure, TestClient } from './node-client.js';

/** A hub that takes connections and says nothing: the backup client waits for it, in its first phase. */
let hub: Server;
const sockets = new Set<Socket>();
let folders: NodeFolders;
let node: Node;
let client: TestClient;

beforeEach(async () => {
  hub = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  hub.listen(0, '127.0.0.1');
  await once(hub, 'listening');
  folders = enrolledNode({ lanes: 1 });
  const path = enrolmentPath(folders.config.dataDirectory);
  const identity = JSON.parse(readFileSync(path, 'utf8')) as { hub: { port: number } };
  identity.hub.port = (hub.address() as { port: number }).port;
  writeFileSync(path, JSON.stringify(identity));
  node = await createNode(folders.config, silentLogger);
  client = new TestClient(node.socketPath);
});

afterEach(async () => {
  client[Symbol.dispose]();
  await node[Symbol.asyncDispose]();
  folders[Symbol.dispose]();
  for (const socket of sockets) socket.destroy();
  sockets.clear();
  await new Promise((resolve) => hub.close(resolve));
});

const request = (jobId: string, vm = 'vm-57') =>
  RunBackupRequest.fromPartial({
    jobId,
    vcenter: { endpoint: '127.0.0.1:1', username: 'u', password: 'secret-4711', thumbprint: 'ab'.repeat(20) },
    vmMoref: vm,
    vmInstanceUuid: `uuid of ${vm}`,
    vmName: 'pgtest1',
    disks: [
      {
        diskKey: 2000,
        capacityBytes: 1n << 20n,
        type: DiskBackupType.DISK_BACKUP_TYPE_FULL,
        nbdPort: 10_100,
        nbdExportName: 'pgtest1-disk0',
      },
    ],
  });

const clients = () => processesOwnedBy(ownerMark(folders.config.dataDirectory));
const foldersLeft = () =>
  readdirSync(folders.config.runtimeDirectory).filter((name) => name.startsWith('job-'));

describe('the agent and its backup clients', () => {
  it('cancels a job that waits, and nothing of it is left', async () => {
    const job = client.backup(request('a'));
    await eventually('the client runs', () => clients().length === 1);
    const answer = await client.cancel('a', 'enough');
    expect(answer).toEqual({ wasRunning: true });
    expect(await job.done).toBeUndefined();
    expect(job.names).toEqual(['accepted', 'failed']);
    expect(failure(job)).toMatchObject({ code: 'cancelled', message: 'enough' });
    expect(clients()).toEqual([]);
    expect(foldersLeft()).toEqual([]);
  });

  it('says how a client died that was killed', async () => {
    const job = client.backup(request('a'));
    const [found] = await eventually('the client runs', () =>
      clients().length === 1 ? clients() : undefined,
    );
    process.kill(found!.pid, 'SIGKILL');
    await job.done;
    expect(failure(job)).toMatchObject({
      code: 'process_failed',
      message: expect.stringContaining('signal SIGKILL'),
    });
    expect(foldersLeft()).toEqual([]);
  });

  it('keeps secrets out of the command line and the environment of the client', async () => {
    const job = client.backup(request('a'));
    const [found] = await eventually('the client runs', () =>
      clients().length === 1 ? clients() : undefined,
    );
    await eventually('the client was told its job', () => sockets.size >= 2);
    for (const file of ['cmdline', 'environ'])
      expect(readFileSync(`/proc/${found!.pid}/${file}`, 'utf8')).not.toContain('secret-4711');
    await client.cancel('a');
    await job.done;
  });

  it('gives the events of one job to everybody who asks, also after its end', async () => {
    const first = client.backup(request('a'));
    await eventually('the client runs', () => clients().length === 1);
    const again = client.backup(request('a'));
    const watcher = client.watch('a', 1n);
    first.leave();
    await eventually('the second caller is there', () => again.names.length === 1);
    await client.cancel('a');
    await Promise.all([again.done, watcher.done]);
    expect(again.names).toEqual(['accepted', 'failed']);
    expect(watcher.seen.map(({ sequence }) => sequence)).toEqual([2n]);
    const late = client.backup(request('a'));
    await late.done;
    expect(late.names).toEqual(['accepted', 'failed']);
  });

  it('answers other calls while jobs run, and forgets a job when told to', async () => {
    const job = client.backup(request('a'));
    await eventually('the client runs', () => clients().length === 1);
    const list = async () =>
      (await client.call<ListJobsResponse>((answer) => client.grpc.listJobs({}, answer))).jobs;
    expect(await list()).toMatchObject([{ jobId: 'a', state: 'running', vmName: 'pgtest1' }]);
    const forget = () => client.call((answer) => client.grpc.forgetJob({ jobId: 'a' }, answer));
    await expect(forget()).rejects.toMatchObject({ code: 'conflict' });
    await client.cancel('a');
    await job.done;
    expect(await list()).toMatchObject([{ jobId: 'a', state: 'failed' }]);
    await forget();
    expect(await list()).toEqual([]);
    await expect(client.watch('a', 0n).done).resolves.toMatchObject({ code: 'job_not_found' });
  });

  it('refuses a second backup of a VM, a request with a wrong field, and hashes of a disk that is not finished', async () => {
    const job = client.backup(request('a'));
    await eventually('it was accepted', () => job.names.length === 1);
    await expect(client.backup(request('b')).done).resolves.toMatchObject({ code: 'backup_already_running' });
    await expect(client.backup({ ...request('c'), vmMoref: '' }).done).resolves.toMatchObject({
      code: 'invalid_argument',
      context: { field: 'vm_moref' },
    });
    const hashes = client.grpc.readBlockHashes({ jobId: 'a', diskKey: 2000 });
    await expect(once(hashes, 'data')).rejects.toMatchObject({
      details: expect.stringContaining('not finished'),
    });
  });

  it('stops its jobs when it stops', async () => {
    const job = client.backup(request('a'));
    await eventually('the client runs', () => clients().length === 1);
    await node[Symbol.asyncDispose]();
    await job.done;
    expect(failure(job)).toMatchObject({
      code: 'shutting_down',
      message: expect.stringMatching(/node sna1 was stopped: start the backup again/),
    });
    expect(clients()).toEqual([]);
  });

  it('fails with the reason when the hub cannot be reached', async () => {
    await new Promise((resolve) => {
      hub.close(resolve);
      for (const socket of sockets) socket.destroy();
    });
    const job = client.backup(request('a'));
    await job.done;
    expect(failure(job)).toMatchObject({ code: 'tunnel_lost', retryable: true });
  });
});
