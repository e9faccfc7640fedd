import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { SendenseError } from '@sendense/core';
import { ChildProcess, delay, silentLogger, type Logger } from '@sendense/runtime';

/** The yardstick: OpenSSH's own client and server, with a port forwarded (`ssh -L`), both on this machine. */
export class OpenSshForward implements AsyncDisposable {
  private constructor(
    readonly localPort: number,
    private readonly client: ChildProcess,
    private readonly server: ChildProcess,
  ) {}

  static async start(
    directory: string,
    ports: { readonly ssh: number; readonly local: number; readonly target: number },
    log: Logger = silentLogger,
  ): Promise<OpenSshForward> {
    if (!existsSync('/usr/sbin/sshd')) {
      throw new SendenseError('process_failed', 'sshd is not installed: apt-get install openssh-server');
    }
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    // An empty folder that sshd locks part of itself into, when root starts it.
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true });
    for (const key of ['host', 'client']) {
      await execa('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(directory, key)]);
    }
    writeFileSync(join(directory, 'authorized'), readFileSync(join(directory, 'client.pub')), {
      mode: 0o600,
    });
    const owner = `bench:${process.pid}`;
    const settings = [
      `Port=${ports.ssh}`,
      'ListenAddress=127.0.0.1',
      `HostKey=${join(directory, 'host')}`,
      `AuthorizedKeysFile=${join(directory, 'authorized')}`,
      'StrictModes=no',
      'PidFile=none',
      'UsePAM=no',
      'PermitRootLogin=yes',
    ].flatMap((setting) => ['-o', setting]);
    const server = await ChildProcess.spawn('/usr/sbin/sshd', ['-D', '-e', '-f', '/dev/null', ...settings], {
      name: 'sshd',
      owner,
      log,
    });
    await untilListening(ports.ssh, server);
    const options = [
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'Ciphers=aes128-gcm@openssh.com',
    ];
    const client = await ChildProcess.spawn(
      'ssh',
      [
        ...options.flatMap((option) => ['-o', option]),
        ...['-N', '-i', join(directory, 'client'), '-p', String(ports.ssh)],
        ...['-L', `127.0.0.1:${ports.local}:127.0.0.1:${ports.target}`, `${userInfo().username}@127.0.0.1`],
      ],
      { name: 'ssh -L', owner, log },
    );
    await untilListening(ports.local, client);
    return new OpenSshForward(ports.local, client, server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.terminate();
    await this.server.terminate();
  }
}

async function untilListening(port: number, process: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (!process.running) throw process.failure('process_failed', `${process.name} ended`);
    const open = await new Promise<boolean>((settle) => {
      const socket = createConnection({ host: '127.0.0.1', port });
      socket.once('connect', () => {
        socket.destroy();
        settle(true);
      });
      socket.once('error', () => settle(false));
    });
    if (open) return;
    await delay(50);
  }
  throw new SendenseError('timeout', `${process.name} does not listen on port ${port}`);
}
