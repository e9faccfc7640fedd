import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { enrolNode } from '@sendense/node-agent';
import { eventually, requires, temporaryDirectory } from '@sendense/runtime/testing';
import { Constellation, CONSTELLATION_TOOLS } from './constellation.js';

const MIB = 2 ** 20;
/** The NBD specification: what a server says first. */
const NBD_GREETING = 'NBDMAGICIHAVEOPT';

interface SshResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
}

interface Refused {
  readonly audit_event_id: number;
  readonly outcome: string;
  readonly actor: string;
  readonly detail: { readonly what: string; readonly detail: string };
}

requires(
  describe,
  ...CONSTELLATION_TOOLS,
  'ssh',
)('a stock OpenSSH client with the key of a node', () => {
  let all: Constellation;
  let backupId: string;
  let port: number;

  beforeAll(async () => {
    all = await Constellation.start();
    await all.addVm({ name: 'pgtest1', disks: [{ sizeBytes: 32 * MIB }] }, 16 * MIB);
    all.lab.setFault({ operation: 'vddk.read', delayMs: 2_000 });
    const { body } = await all.start('pgtest1');
    backupId = String(body['backup_id']);
    const running = await eventually('the backup runs', async () => {
      const now = await all.backup(backupId);
      return now.state === 'running' && now.snapshot ? now : undefined;
    });
    port = running.disk_results[0]!.nbd_port;
  }, 60_000);

  afterAll(async () => {
    await all[Symbol.asyncDispose]();
  });

  /** One `ssh` to its end; it is ended as soon as it says something on stdout. */
  async function ssh(
    args: readonly string[],
    key = join(all.nodeConfig.dataDirectory, 'id_ed25519'),
  ): Promise<SshResult> {
    const { port: tunnelPort } = all.hub.hub.tunnelAddress;
    const options = [
      'BatchMode=yes',
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'IdentitiesOnly=yes',
    ];
    const child = spawn(
      'ssh',
      [...options.flatMap((option) => ['-o', option]), '-i', key, '-p', String(tunnelPort), ...args],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    let [stdout, stderr] = ['', ''];
    child.stderr.on('data', (chunk) => (stderr += String(chunk)));
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString('latin1');
      if (stdout.length >= NBD_GREETING.length) child.kill('SIGTERM');
    });
    const code = await new Promise<number | null>((ended) => child.on('close', ended));
    return { stdout, stderr, code };
  }

  const user = `${Constellation.nodeName}@127.0.0.1`;
  const forward = (target: string) => ['-W', target, user];

  async function refusals(): Promise<Refused[]> {
    const { body } = await all.hub.get('/api/v1/audit-events?action=tunnel.refused&limit=200');
    return body['audit_events'] as Refused[];
  }

  /** Fails unless just this refusal came to the audit trail after what was there before. */
  async function audited(
    before: readonly Refused[],
    detail: Refused['detail'],
    actor = `node:${Constellation.nodeName}`,
  ): Promise<void> {
    const known = new Set(before.map(({ audit_event_id: id }) => id));
    await eventually('the refusal is in the audit trail', async () => {
      const added = (await refusals()).filter(({ audit_event_id: id }) => !known.has(id));
      expect(added).toContainEqual(expect.objectContaining({ actor, outcome: 'refused', detail }));
      return true;
    });
  }

  it('reaches the leased port of its running job', async () => {
    expect((await ssh(forward(`127.0.0.1:${port}`))).stdout.slice(0, 16)).toBe(NBD_GREETING);
  });

  const apiPort = () => all.hub.hub.apiAddress.port;
  const notLeased = (to: number) => `to 127.0.0.1:${to}: port ${to} is not leased to a running backup`;
  it.each([
    [
      'a port that is not leased',
      () => forward(`127.0.0.1:${port + 1}`),
      'channel',
      () => notLeased(port + 1),
    ],
    ['the API', () => forward(`127.0.0.1:${apiPort()}`), 'channel', () => notLeased(apiPort())],
    [
      'another host',
      () => forward(`192.0.2.1:${port}`),
      'channel',
      () => `to 192.0.2.1:${port}: only 127.0.0.1 can be reached`,
    ],
    ['a shell', () => [user], 'shell', () => 'a shell'],
    ['a command', () => [user, 'id'], 'exec', () => 'command id'],
    ['sftp', () => ['-s', user, 'sftp'], 'subsystem', () => 'subsystem sftp'],
    [
      'a remote forward',
      () => ['-N', '-o', 'ExitOnForwardFailure=yes', '-R', '0:127.0.0.1:22', user],
      'forward',
      () => 'tcpip-forward localhost:0',
    ],
  ])('is refused %s, and the audit trail names it', async (_what, args, what, detail) => {
    const before = await refusals();
    const { stdout, code } = await ssh(args());
    expect(stdout).toBe('');
    expect(code).not.toBe(0);
    await audited(before, { what, detail: detail() });
  });

  it('of another node does not reach it', async () => {
    using folder = temporaryDirectory('sdc2');
    const { body } = await all.hub.post('/api/v1/nodes', { name: 'site-2' });
    const { host, port: tunnelPort } = all.hub.hub.tunnelAddress;
    await enrolNode({
      dataDirectory: folder.path,
      hub: { host, port: tunnelPort },
      token: String(body['enrolment_token']),
    });
    const key = join(folder.path, 'id_ed25519');
    const target = `127.0.0.1:${port}`;
    const before = await refusals();
    expect((await ssh(['-W', target, 'site-2@127.0.0.1'], key)).stdout).toBe('');
    const detail = `to 127.0.0.1:${port}: port ${port} is leased to another node`;
    await audited(before, { what: 'channel', detail }, 'node:site-2');
    // Nor under the first node's name: the key is not its.
    const impostor = await ssh(['-W', target, user], key);
    expect(impostor.stdout).toBe('');
    expect(impostor.stderr).toContain('Permission denied');
    const whose = expect.stringMatching(/^user site-1, key SHA256:\S+ this is not the key of node site-1$/);
    await audited(before, { what: 'authentication', detail: whose as unknown as string }, 'anonymous');
  });

  it('is refused the same port after the job’s end', async () => {
    all.lab.clearFaults();
    expect(await all.end(backupId)).toMatchObject({ state: 'completed' });
    // Whoever listens there then would be reached if the port were still open.
    const stranger = createServer((socket) => socket.end(NBD_GREETING));
    await new Promise<void>((listening) => stranger.listen(port, '127.0.0.1', listening));
    try {
      const before = await refusals();
      const { stdout, code } = await ssh(forward(`127.0.0.1:${port}`));
      expect(stdout).toBe('');
      expect(code).not.toBe(0);
      await audited(before, { what: 'channel', detail: notLeased(port) });
    } finally {
      stranger.close();
    }
  });
});
