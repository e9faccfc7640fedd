import { expect, it } from '@jest/globals';
import type { ContainerFacts } from './docker.js';
import type { Environment, Service } from './environment.js';

/** Long enough for an answer from the same machine; a network that swallows packets never answers. */
const CONNECT_MS = 2_000;

export function isolationTests(environment: () => Environment): void {
  it('lets the node reach the tunnel and nothing else of the hub, on any address', async () => {
    const hub = await environment().inspect('hub');
    const node = await environment().inspect('node');
    const names = ['hub', 'hub-api', 'hub-tunnel', 'mariadb', 'host.docker.internal'];
    const database = addressesOf(await environment().inspect('mariadb'));
    const targets = [...names, ...addressesOf(hub), ...gatewaysOf(hub), ...gatewaysOf(node), ...database];
    const ports = [8082, 3306, 10_100];
    const reached = await connect(
      environment(),
      'node',
      targets.flatMap((host) => ports.map((port) => `${host}:${port}`)),
    );
    expect(reached).toEqual([]);
    expect(await connect(environment(), 'node', ['hub-tunnel:443', 'vcenter:443'])).toHaveLength(2);
  });

  it('does not let the hub reach vCenter, on any address', async () => {
    const lab = await environment().inspect('lab');
    const hub = await environment().inspect('hub');
    const targets = ['vcenter', 'lab', ...addressesOf(lab), ...gatewaysOf(lab), ...gatewaysOf(hub)];
    const reached = await connect(
      environment(),
      'hub',
      targets.flatMap((host) => [`${host}:443`, `${host}:902`]),
    );
    expect(reached).toEqual([]);
    expect(await connect(environment(), 'hub', ['mariadb:3306', 'hub-api:8082'])).toHaveLength(2);
  });

  it('publishes the API on the loopback of this machine, and nothing else', async () => {
    const { stdout } = await environment().compose('ps', '--format', '{{.Service}} {{.Ports}}');
    const published = stdout.split('\n').filter((line) => line.includes('->'));
    expect(published).toEqual([expect.stringMatching(/^hub .*127\.0\.0\.1:\d+->8082\/tcp/)]);
    expect(published.join()).not.toMatch(/0\.0\.0\.0|\[::\]/);
  });

  it.each<Service>(['hub', 'node', 'mariadb', 'lab'])(
    'runs %s as an ordinary user without capabilities, on a read-only root',
    async (service) => {
      const { Config, HostConfig } = await environment().inspect(service);
      expect(Config.User).toBe('sendense');
      expect(HostConfig).toMatchObject({
        ReadonlyRootfs: true,
        CapDrop: ['ALL'],
        CapAdd: null,
        SecurityOpt: ['no-new-privileges:true'],
        Privileged: false,
      });
      const uids = await environment().exec(service, ['sh', '-c', 'cat /proc/[0-9]*/status | grep ^Uid']);
      expect([...new Set(uids.trim().split('\n'))]).toEqual(['Uid:\t10001\t10001\t10001\t10001']);
      await expect(environment().exec(service, ['touch', '/usr/x'])).rejects.toThrow(/Read-only/);
    },
  );
}

/** Which of the addresses a container can open a connection to. */
async function connect(
  environment: Environment,
  from: 'hub' | 'node',
  addresses: readonly string[],
): Promise<string[]> {
  const answer = await environment.script(
    from,
    `import { connect } from 'node:net';
     const reach = (address) => new Promise((settle) => {
       const [host, port] = address.split(':');
       const socket = connect({ host, port: Number(port), timeout: ${CONNECT_MS} });
       const end = (reached) => { socket.destroy(); settle(reached ? [address] : []); };
       socket.on('connect', () => end(true)).on('error', () => end(false)).on('timeout', () => end(false));
     });
     const all = await Promise.all(${JSON.stringify(addresses)}.map(reach));
     console.log(JSON.stringify(all.flat()));`,
  );
  return JSON.parse(answer) as string[];
}

function addressesOf({ NetworkSettings }: ContainerFacts): string[] {
  return Object.values(NetworkSettings.Networks).map(({ IPAddress }) => IPAddress);
}

/** This machine, as a container sees it. */
function gatewaysOf({ NetworkSettings }: ContainerFacts): string[] {
  return Object.values(NetworkSettings.Networks).flatMap(({ Gateway }) => (Gateway === '' ? [] : [Gateway]));
}
