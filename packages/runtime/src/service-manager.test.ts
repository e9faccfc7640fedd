import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { ServiceManager, silentLogger as log } from './index.js';
import { eventually, requires, temporaryDirectory } from './testing.js';

/** The other end of NOTIFY_SOCKET: says what it hears, a line a message, and closes what systemd-notify waits for. */
const LISTENER = `
import array, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('listening', flush=True)
while True:
    data, ancillary, _, _ = s.recvmsg(4096, 1024)
    for level, kind, content in ancillary:
        if kind == socket.SCM_RIGHTS:
            descriptors = array.array('i')
            descriptors.frombytes(content[:len(content) - len(content) % 4])
            for descriptor in descriptors: os.close(descriptor)
    print(data.decode().replace('\\n', ' '), flush=True)
`;

function listen(socket: string): Disposable & { readonly heard: string[] } {
  const child = spawn('python3', ['-c', LISTENER, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
  const heard: string[] = [];
  createInterface(child.stdout).on('line', (line) => heard.push(line));
  return { heard, [Symbol.dispose]: () => void child.kill() };
}

requires(
  describe,
  'python3',
  'systemd-notify',
)('a service under systemd', () => {
  it('says that it is ready, then that it lives, then that it stops', async () => {
    using folder = temporaryDirectory();
    const socket = join(folder.path, 'notify');
    using systemd = listen(socket);
    await eventually('it listens', () => systemd.heard.includes('listening'));
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      NOTIFY_SOCKET: socket,
      WATCHDOG_USEC: '300000',
      WATCHDOG_PID: String(process.pid),
    };
    using service = new ServiceManager(env, log);
    expect(Object.keys(env).filter((name) => /NOTIFY|WATCHDOG/.test(name))).toEqual([]);
    await service.ready();
    expect(systemd.heard).not.toContain('STOPPING=1');
    await eventually('it pings', () => systemd.heard.filter((line) => line === 'WATCHDOG=1').length > 2);
    await service.status('one backup runs');
    await service.stopping();
    expect(systemd.heard).toEqual(
      expect.arrayContaining(['READY=1', 'STATUS=one backup runs', 'STOPPING=1']),
    );
  });

  it('leaves the watchdog of another process alone', async () => {
    using folder = temporaryDirectory();
    const socket = join(folder.path, 'notify');
    using systemd = listen(socket);
    await eventually('it listens', () => systemd.heard.includes('listening'));
    const env = { ...process.env, NOTIFY_SOCKET: socket, WATCHDOG_USEC: '1000', WATCHDOG_PID: '1' };
    using service = new ServiceManager(env, log);
    await service.ready();
    await service.stopping();
    expect(systemd.heard).not.toContain('WATCHDOG=1');
  });
});

describe('a service without systemd', () => {
  it('tells nobody', async () => {
    using service = new ServiceManager({}, log);
    await service.ready();
    await service.stopping();
  });

  it('goes on when systemd cannot be told', async () => {
    using service = new ServiceManager({ PATH: '/nonexistent', NOTIFY_SOCKET: '/nonexistent' }, log);
    await service.ready();
  });
});
