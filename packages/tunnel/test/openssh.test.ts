// A stock OpenSSH client with the node's key is held to the same rules as our own.
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from '@jest/globals';
import { eventually, requires } from '@sendense/runtime/testing';
import { generateEd25519Key } from '../src/index.js';
import { echoServer, JOB, NODE, startHarness, type Harness } from './harness.js';

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Connection options for the hub: the node's key, and the hub's host key in a known_hosts file of its own. */
function sshOptions(hub: Harness, { key = hub.key.privateKeyPem } = {}): string[] {
  const keyPath = join(hub.directory, `id_${createHash('sha256').update(key).digest('hex')}`);
  writeFileSync(keyPath, key, { mode: 0o600 });
  const settings = {
    UserKnownHostsFile: join(hub.directory, 'known_hosts'),
    StrictHostKeyChecking: 'accept-new',
    IdentitiesOnly: 'yes',
    BatchMode: 'yes',
    ExitOnForwardFailure: 'yes',
    LogLevel: 'INFO',
  };
  return [
    ...['-F', 'none', '-i', keyPath],
    ...Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
  ];
}

function start(command: string, args: readonly string[]): ChildProcess {
  return spawn(command, args, { env: { ...process.env, DISPLAY: ':99' } });
}

async function run(command: string, args: readonly string[], input = ''): Promise<Ended> {
  const child = start(command, args);
  child.stdin?.on('error', () => undefined).end(input);
  const [stdout, stderr, code] = await Promise.all([
    text(child.stdout!),
    text(child.stderr!),
    new Promise<number | null>((resolve) => child.once('close', resolve)),
  ]);
  return { code, stdout, stderr };
}

async function ssh(hub: Harness, args: readonly string[], input?: string): Promise<Ended> {
  const { host, port } = hub.hub;
  return run('ssh', [...sshOptions(hub), '-p', String(port), ...args, `${NODE}@${host}`], input);
}

async function portAnswers(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    let answer = '';
    socket.on('data', (chunk) => (answer += String(chunk)));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answer));
    socket.end('hello');
  });
}

async function freePort(): Promise<number> {
  await using server = await echoServer();
  return server.port;
}

requires(
  describe,
  'ssh',
  'sftp',
  'ssh-keygen',
)('a stock OpenSSH client', () => {
  it('loads the keys that we generate', async () => {
    await using hub = await startHarness();
    for (let count = 0; count < 20; count++) {
      const { privateKeyPem, publicKey } = generateEd25519Key();
      const path = join(hub.directory, `key-${count}`);
      writeFileSync(path, privateKeyPem, { mode: 0o600 });
      const { stdout } = await run('ssh-keygen', ['-y', '-f', path]);
      expect(stdout.trim()).toBe(`${publicKey} sendense`);
    }
  });

  it('reaches a leased port with -W', async () => {
    await using hub = await startHarness();
    await using echo = await echoServer();
    hub.leases.set(echo.port, JOB);
    const { stdout, code } = await ssh(hub, ['-W', `127.0.0.1:${echo.port}`], 'over the tunnel');
    expect({ stdout, code }).toEqual({ stdout: 'over the tunnel', code: 0 });
    const { stdout: byName } = await ssh(hub, ['-W', `localhost:${echo.port}`], 'by name');
    expect(byName).toBe('by name');
    expect(hub.refusals).toEqual([]);
  });

  it('carries megabytes through -L, with new session keys again and again', async () => {
    await using hub = await startHarness({ limits: { rekeyBytes: 3 << 20 } });
    await using echo = await echoServer();
    hub.leases.set(echo.port, JOB);
    const local = await freePort();
    const { host, port } = hub.hub;
    const forward = ['-N', '-L', `${local}:127.0.0.1:${echo.port}`, '-o', 'RekeyLimit=1M'];
    const client = start('ssh', [...sshOptions(hub), '-p', String(port), ...forward, `${NODE}@${host}`]);
    try {
      const answer = await eventually('it listens', async () => portAnswers(local));
      expect(answer).toBe('hello');
      const sent = Buffer.alloc(24 << 20, 'abcdefghi');
      const socket = connect({ host: '127.0.0.1', port: local });
      socket.end(sent);
      const received: Buffer[] = [];
      for await (const chunk of socket) received.push(chunk as Buffer);
      expect(Buffer.concat(received).equals(sent)).toBe(true);
    } finally {
      client.kill();
    }
  });

  it('reaches nothing else: other ports, other hosts, sockets', async () => {
    await using hub = await startHarness();
    await using echo = await echoServer();
    const targets = [`127.0.0.1:${echo.port}`, '127.0.0.1:22', '10.0.0.1:80', 'example.com:443', '[::1]:22'];
    for (const target of targets) {
      const { code, stderr } = await ssh(hub, ['-W', target]);
      expect({ target, code }).toEqual({ target, code: 255 });
      expect(stderr).toMatch(/open failed/);
    }
    const { host, port } = hub.hub;
    const local = await freePort();
    const forward = ['-N', '-L', `${local}:/var/run/docker.sock`];
    const client = start('ssh', [...sshOptions(hub), '-p', String(port), ...forward, `${NODE}@${host}`]);
    try {
      await eventually('all are reported', async () => {
        await portAnswers(local);
        return hub.refusals.length > targets.length;
      });
    } finally {
      client.kill();
    }
    expect(hub.refusals.slice(0, 6).map(({ what, detail }) => `${what} ${detail}`)).toEqual([
      `channel to 127.0.0.1:${echo.port}: the port is not leased`,
      'channel to 127.0.0.1:22: the port is not leased',
      'channel to 10.0.0.1:80: only 127.0.0.1 can be reached',
      'channel to example.com:443: only 127.0.0.1 can be reached',
      'channel to ::1:22: only 127.0.0.1 can be reached',
      'channel to socket /var/run/docker.sock',
    ]);
  });

  it.each([
    ['a shell', [], 'shell'],
    ['a terminal', ['-tt'], 'pty'],
    ['a command', ['-T'], 'exec'],
    ['a subsystem', ['-s'], 'subsystem'],
    ['the agent', ['-A', '-T'], 'exec'],
    ['X11', ['-Y', '-T'], 'x11'],
    ['a variable', ['-o', 'SetEnv=LD_PRELOAD=/tmp/evil.so', '-T'], 'env'],
  ])('does not get %s', async (_name, args, what) => {
    await using hub = await startHarness();
    const { host, port } = hub.hub;
    const command = what === 'shell' || what === 'pty' ? [] : ['cat'];
    const target = ['-p', String(port), ...args, `${NODE}@${host}`, ...command];
    const { code, stdout } = await run('ssh', [...sshOptions(hub), ...target]);
    expect({ code, stdout }).toEqual({ code: 255, stdout: '' });
    await eventually('it is reported', () => hub.refusals.some((refusal) => refusal.what === what));
    expect(hub.refusals.every(({ nodeName }) => nodeName === NODE)).toBe(true);
  });

  it('does not get a file over sftp', async () => {
    await using hub = await startHarness();
    const { host, port } = hub.hub;
    const { code } = await run('sftp', [
      ...sshOptions(hub),
      '-P',
      String(port),
      `${NODE}@${host}:/etc/passwd`,
      hub.directory,
    ]);
    expect(code).not.toBe(0);
    await eventually('it is reported', () => hub.refusals.some(({ what }) => what === 'subsystem'));
    expect(hub.refusals[0]?.detail).toBe('subsystem sftp');
  });

  it('opens no port and no socket on the hub with -R', async () => {
    await using hub = await startHarness();
    const tcp = await ssh(hub, ['-N', '-R', '0.0.0.0:18080:127.0.0.1:80']);
    expect(tcp.stderr).toMatch(/remote port forwarding failed/);
    const socket = await ssh(hub, ['-N', '-R', `${hub.directory}/evil.sock:127.0.0.1:80`]);
    expect(socket.stderr).toMatch(/remote port forwarding failed/);
    await eventually('both are reported', () => hub.refusals.length === 2);
    expect(hub.refusals.map(({ what, detail }) => `${what} ${detail}`)).toEqual([
      'forward tcpip-forward 0.0.0.0:18080',
      `forward streamlocal-forward@openssh.com ${hub.directory}/evil.sock`,
    ]);
  });

  it('forwards no agent', async () => {
    await using hub = await startHarness();
    const agentSocket = join(hub.directory, 'agent.sock');
    await using agent = await echoServer(agentSocket);
    const { host, port } = hub.hub;
    const options = [...sshOptions(hub), '-o', `IdentityAgent=${agentSocket}`, '-o', 'ForwardAgent=yes'];
    const child = spawn('ssh', [...options, '-p', String(port), `${NODE}@${host}`, 'cat'], {
      env: { ...process.env, SSH_AUTH_SOCK: agent.path },
    });
    child.stdin.end();
    await eventually('it is reported', () => hub.refusals.some(({ what }) => what === 'agent'));
    child.kill();
  });

  it('is not let in with another key, another name, a password, or as enrolment without a token', async () => {
    await using hub = await startHarness();
    const { host, port } = hub.hub;
    const stranger = generateEd25519Key().privateKeyPem;
    const attempts: [string, string[]][] = [
      [NODE, sshOptions(hub, { key: stranger })],
      ['root', sshOptions(hub)],
      ['node-1+../../x', sshOptions(hub)],
      ['enrol', sshOptions(hub)],
      [NODE, [...sshOptions(hub), '-o', 'PreferredAuthentications=password']],
    ];
    for (const [user, options] of attempts) {
      const { code, stderr } = await run('ssh', [...options, '-p', String(port), '-l', user, host, '-N']);
      expect({ user, code }).toEqual({ user, code: 255 });
      expect(stderr).toMatch(/Permission denied/);
    }
    await eventually('those with a key are reported', () => hub.refusals.length === 3);
    expect(hub.refusals.map(({ what }) => what)).toEqual(Array(3).fill('authentication'));
  });
});
