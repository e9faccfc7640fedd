import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { FakeHub } from './fake-hub.js';

describe('node grpc', () => {
  it('prints the socket on the hub and commands that can be pasted', async () => {
    await using hub = await FakeHub.start();
    const grpc_socket = '/run/sendense/nodes/site-1.sock';
    hub.answers('GET /api/v1/nodes/site-1', { body: { name: 'site-1', state: 'online', grpc_socket } });
    const { out, exitCode } = await hub.run(['node', 'grpc', 'site-1']);
    expect(exitCode).toBe(0);
    expect(out.split('\n')).toEqual([
      `# ${grpc_socket}`,
      `grpcurl -plaintext unix://${grpc_socket} list`,
      `grpcurl -plaintext unix://${grpc_socket} describe sendense.node.v1.NodeService`,
      `grpcurl -plaintext unix://${grpc_socket} sendense.node.v1.NodeService/GetNode`,
    ]);
    const json = await hub.run(['--json', 'node', 'grpc', 'site-1']);
    expect(JSON.parse(json.out)).toMatchObject({ socket: grpc_socket, commands: { length: 3 } });
  });

  it('quotes a socket in an odd directory', async () => {
    await using hub = await FakeHub.start();
    const body = { name: 's', state: 'online', grpc_socket: "/run/my hub's/s.sock" };
    hub.answers('GET /api/v1/nodes/s', { body });
    expect((await hub.run(['node', 'grpc', 's'])).out).toContain(
      String.raw`grpcurl -plaintext 'unix:///run/my hub'\''s/s.sock' list`,
    );
  });

  it('says what to do when the node is not connected', async () => {
    await using hub = await FakeHub.start();
    hub.answers('GET /api/v1/nodes/s', { body: { name: 's', state: 'offline', grpc_socket: null } });
    const { out, err, exitCode } = await hub.run(['node', 'grpc', 's']);
    expect([out, exitCode]).toEqual(['', 1]);
    expect(err).toMatch(/node s is offline.*start sendense-node.*\[node_offline\]/);
  });
});

describe('vcenter update', () => {
  const what = 'PATCH /api/v1/vcenters/vcenter-main';
  const body = { vcenter_id: 'vcenter-main', name: 'main', username: 'u', thumbprint: 'AB' };

  it('sends the new password from a file, and nothing that is not given', async () => {
    using folder = temporaryDirectory('cli');
    const file = join(folder.path, 'password');
    writeFileSync(file, 'new one\n');
    await using hub = await FakeHub.start();
    hub.answers(what, { body });
    const { out, exitCode } = await hub.run(['vcenter', 'update', 'vcenter-main', '--password-file', file]);
    expect(exitCode).toBe(0);
    expect(hub.asked).toEqual([{ what, body: { password: 'new one' } }]);
    expect(out).toContain('vcenter-main');
    expect(out).not.toContain('new one');
  });

  it('changes user and certificate without asking for a password', async () => {
    await using hub = await FakeHub.start();
    hub.answers(what, { body });
    await hub.run(['vcenter', 'update', 'vcenter-main', '--username', 'u2', '--thumbprint', 'AB']);
    expect(hub.asked).toEqual([{ what, body: { username: 'u2', thumbprint: 'AB' } }]);
  });

  it('with nothing to change is a wrong call', async () => {
    await using hub = await FakeHub.start();
    const { exitCode, err } = await hub.run(['vcenter', 'update', 'vcenter-main']);
    expect([exitCode, hub.asked]).toEqual([2, []]);
    expect(err).toContain('--password-file');
  });
});

describe('backup show', () => {
  it('shows how many blocks of each disk were audited', async () => {
    await using hub = await FakeHub.start();
    const disk = { disk_id: 'd', capacity_bytes: 1024, status: 'completed' };
    hub.answers('GET /api/v1/backups/b', {
      body: {
        ...{
          backup_id: 'b',
          vm_name: 'vm',
          repository_id: 'r',
          backup_type: 'incremental',
          state: 'completed',
        },
        disk_results: [
          { ...disk, disk_key: 2000, disk_number: 0, backup_type: 'incremental', audited_blocks: 64 },
          { ...disk, disk_key: 2001, disk_number: 1, backup_type: 'full', audited_blocks: null },
        ],
      },
    });
    const rows = (await hub.run(['backup', 'show', 'b'])).out
      .split('\n')
      .slice(-3)
      .map((line) => line.split('\t'));
    const column = rows[0]!.indexOf('AUDITED');
    expect(column).toBeGreaterThan(0);
    expect(rows.map((row) => row[column])).toEqual(['AUDITED', '64', '-']);
  });
});
