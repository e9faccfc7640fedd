import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type {
  CheckVCenterResponse,
  ListVirtualMachinesResponse,
  VCenterConnection,
} from '@sendense/contracts';
import { silentLogger } from '@sendense/runtime';
import { requires } from '@sendense/runtime/testing';
import { createNode, type Node } from '../src/index.js';
import { enrolledNode, type NodeFolders } from './enrolled-node.js';
import { TestClient } from './node-client.js';

/** govmomi's vCenter simulator: a vCenter that is not ours. */
let vcsim: ChildProcess;
let endpoint: string;
let folders: NodeFolders;
let node: Node;
let client: TestClient;

async function startVcsim(): Promise<string> {
  vcsim = spawn('vcsim', ['-l', '127.0.0.1:0', '-vm', '3', '-username', 'backup', '-password', 'pass-4711'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  for (let said = ''; ;) {
    const [chunk] = (await once(vcsim.stdout!, 'data')) as [Buffer];
    said += chunk.toString();
    const host = /@(127\.0\.0\.1:\d+)\/sdk/.exec(said)?.[1];
    if (host) return host;
  }
}

requires(describe, 'vcsim')('a node in front of a vCenter that is not ours (vcsim)', () => {
  beforeAll(async () => {
    endpoint = await startVcsim();
    folders = enrolledNode();
    node = await createNode(folders.config, silentLogger);
    client = new TestClient(node.socketPath);
  });
  afterAll(async () => {
    client[Symbol.dispose]();
    await node[Symbol.asyncDispose]();
    folders[Symbol.dispose]();
    vcsim.kill();
    await once(vcsim, 'exit');
  });

  const connection = (change: Partial<VCenterConnection> = {}): VCenterConnection => ({
    endpoint,
    username: 'backup',
    password: 'pass-4711',
    thumbprint: '',
    ...change,
  });
  const check = (vcenter: VCenterConnection) =>
    client.call<CheckVCenterResponse>((answer) => client.grpc.checkVCenter({ vcenter }, answer));
  const list = (vcenter: VCenterConnection, moref = '') =>
    client.call<ListVirtualMachinesResponse>((answer) =>
      client.grpc.listVirtualMachines({ vcenter, moref, instanceUuid: '' }, answer),
    );

  async function confirmed(): Promise<VCenterConnection> {
    const refusal = await check(connection()).catch((error: { context: Record<string, string> }) => error);
    const { context } = refusal as { context: Record<string, string> };
    return connection({ thumbprint: context['thumbprint_sha256'] ?? '' });
  }

  it('shows the certificate and logs in only once it was confirmed', async () => {
    await expect(check(connection())).rejects.toMatchObject({ code: 'vcenter_thumbprint_unconfirmed' });
    const vcenter = await confirmed();
    expect(await check(vcenter)).toMatchObject({
      product: expect.stringContaining('VMware vCenter Server'),
      thumbprintSha256: vcenter.thumbprint,
    });
  });

  it('lists the VMs with disks, sizes and keys as this vCenter has them', async () => {
    const { virtualMachines } = await list(await confirmed());
    expect(virtualMachines.length).toBeGreaterThanOrEqual(3);
    for (const vm of virtualMachines) {
      expect(vm).toMatchObject({ moref: expect.stringMatching(/^vm-/), powerState: 'poweredOn' });
      expect(vm.disks[0]!.key).toBeGreaterThan(0);
      expect(vm.disks[0]!.capacityBytes).toBeGreaterThan(0n);
    }
    const one = virtualMachines[1]!;
    expect((await list(await confirmed(), one.moref)).virtualMachines).toEqual([one]);
    expect((await list(await confirmed(), 'vm-999999')).virtualMachines).toEqual([]);
  });

  it('names a wrong password and a wrong certificate', async () => {
    const vcenter = await confirmed();
    await expect(check({ ...vcenter, password: 'wrong' })).rejects.toMatchObject({
      code: 'vcenter_login_failed',
    });
    await expect(check({ ...vcenter, thumbprint: 'ab'.repeat(32) })).rejects.toMatchObject({
      code: 'vcenter_thumbprint_mismatch',
    });
  });
});
