import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { execa } from 'execa';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import type { Environment } from './environment.js';
import { NOTHING_LEFT, ProtectedVm } from './protected-vm.js';

const MIB = 2 ** 20;
const SERVICE = 'sendense.node.v1.NodeService';

/** What the lab says of itself. */
export interface LabInfo {
  readonly endpoint: string;
  readonly thumbprint_sha256: string;
  readonly username: string;
}

/** What the walk leaves for the parts after it. */
export interface Walked {
  vm?: ProtectedVm;
  vcenterPassword?: string;
  enrolmentToken?: string;
}

/** From an environment that has just come up to a restore, as a user goes. */
export function walkTests(environment: () => Environment, walked: Walked): void {
  let vcenterId = '';
  let repositoryId = '';
  let fullId = '';
  let incrementalId = '';
  const vm = () => {
    if (!walked.vm) throw new Error('there is no VM yet');
    return walked.vm;
  };

  it('enrols the node with a token of the hub, over standard input', async () => {
    const { api } = environment();
    const made = await api.post<{ enrolment_token: string }>('nodes', { name: 'site-1' });
    walked.enrolmentToken = made.enrolment_token;
    const command = ['sendense-node', 'enrol', '--hub', 'hub-tunnel:443', '--token-file', '-'];
    expect(await environment().exec('node', command, made.enrolment_token)).toContain('enrolled as site-1');
    await environment().nodeOnline();
  }, 120_000);

  it('finds the VMs of vCenter, once it knows its certificate', async () => {
    const { api } = environment();
    const lab = await environment().labJson<LabInfo>('info');
    const password = (await environment().exec('lab', ['cat', '/var/lib/sendense-lab/password'])).trim();
    walked.vcenterPassword = password;
    const request = {
      ...{ name: 'lab', node_name: 'site-1', username: lab.username, password },
      endpoint: new URL(lab.endpoint).host,
    };
    // Without the thumbprint it is shown, and nothing is stored.
    await expect(api.post('vcenters', request)).rejects.toThrow(lab.thumbprint_sha256.slice(0, 20));
    const made = await api.post<{ vcenter_id: string }>('vcenters', {
      ...request,
      thumbprint: lab.thumbprint_sha256,
    });
    vcenterId = made.vcenter_id;
    const repository = { name: 'main', type: 'local', path: '/srv/backup' };
    repositoryId = (await api.post<{ repository_id: string }>('repositories', repository)).repository_id;
    walked.vm = await ProtectedVm.create(environment(), { name: 'pgtest1', vcenterId, repositoryId });
    const { vms } = await api.get<{ vms: readonly { name: string }[] }>(`vcenters/${vcenterId}/vms`);
    expect(vms.map(({ name }) => name)).toContain('pgtest1');
  }, 120_000);

  it('takes a full, and after guest writes an incremental; both are what the snapshots froze', async () => {
    const full = await vm().backUp('full');
    expect(full).toMatchObject({ state: 'completed', error: null });
    expect(await vm().compare(full)).toEqual({ 2000: true, 2001: true });
    await vm().write(2000, 3 * MIB, MIB, 'changed');
    await vm().write(2000, 8 * MIB, MIB, '');
    await vm().write(2001, 6 * MIB, 65_536, 'new');
    const incremental = await vm().backUp('incremental');
    expect(incremental).toMatchObject({ state: 'completed', error: null });
    expect(incremental.disk_results.map(({ backup_type }) => backup_type)).toEqual([
      'incremental',
      'incremental',
    ]);
    expect(await vm().compare(incremental)).toEqual({ 2000: true, 2001: true });
    expect(await vm().compare(full)).toEqual({ 2000: true, 2001: true });
    expect(await vm().leftovers()).toEqual(NOTHING_LEFT);
    [fullId, incrementalId] = [full.backup_id, incremental.backup_id];
    expect(await environment().api.events(fullId)).toContain('bytes_done');
  }, 300_000);

  it('verifies a restore point: every block against its hash', async () => {
    const { api } = environment();
    const { task_id: id } = await api.post<{ task_id: string }>(`restore-points/${incrementalId}/verify`);
    const task = await eventually(
      'the verification has ended',
      async () => {
        const shown = await api.get<{ state: string; result: object | null }>(`tasks/${id}`);
        return ['completed', 'failed', 'cancelled'].includes(shown.state) ? shown : undefined;
      },
      120_000,
    );
    expect(task).toMatchObject({ state: 'completed', result: { outcome: 'passed' } });
  }, 180_000);

  it('answers grpcurl from outside, on the sockets of the node and of the hub', async () => {
    const sockets = [
      join(await environment().volume('node-run'), 'node.sock'),
      join(await environment().volume('hub-run'), 'nodes', 'site-1.sock'),
    ];
    using folder = temporaryDirectory('sdg');
    const lab = await environment().labJson<LabInfo>('info');
    const vcenter = {
      ...{ endpoint: new URL(lab.endpoint).host, username: lab.username },
      ...{ password: walked.vcenterPassword, thumbprint: lab.thumbprint_sha256 },
    };
    const request = join(folder.path, 'request.json');
    writeFileSync(request, JSON.stringify({ vcenter }), { mode: 0o600 });
    for (const socket of sockets) {
      const call = (method: string, ...options: string[]) =>
        execa('grpcurl', ['-plaintext', ...options, `unix://${socket}`, method], {
          inputFile: options.includes('@') ? request : '/dev/null',
        });
      expect((await call('list')).stdout).toContain(SERVICE);
      expect(JSON.parse((await call(`${SERVICE}/GetNode`)).stdout)).toMatchObject({ name: 'site-1' });
      const { stdout } = await call(`${SERVICE}/ListVirtualMachines`, '-d', '@');
      expect(stdout).toContain('"pgtest1"');
    }
  }, 60_000);
  it('is shown by the demo, too, whose last line is JSON with the facts', async () => {
    const { stdout, stderr, exitCode } = await environment().compose('run', '--rm', '--no-deps', 'demo');
    environment().api.answers.push(stdout, stderr); // Its container is gone, and what it printed with it.
    if (exitCode !== 0) throw new Error(`exit code ${exitCode}: ${stdout}\n${stderr}`);
    expect(JSON.parse(stdout.split('\n').at(-1) ?? '')).toMatchObject({
      ok: true,
      state: 'completed',
      disks: [
        { backup_type: 'full', identical: true },
        { backup_type: 'full', identical: true },
      ],
      incremental: { state: 'completed' },
      verify: { outcome: 'passed' },
      snapshots_left: 0,
      leases_left: 0,
    });
  }, 400_000);
}
