import { mkdirSync, readFileSync } from 'node:fs';
import { freePort, freePortRange, type Stage } from './stage.js';

export interface LabFacts {
  readonly endpoint: string;
  readonly thumbprint_sha256: string;
  readonly username: string;
  readonly password_file: string;
  readonly vddk_libdir: string;
  readonly vddk_env: Record<string, string>;
}

/** A lab, a hub and a node that run, and how to talk to them. */
export interface Constellation {
  readonly url: string;
  readonly token: string;
  readonly tunnelPort: number;
  readonly lab: LabFacts;
  /** Runs the CLI and returns its parsed JSON. */
  readonly cli: <T>(...args: string[]) => Promise<T>;
  /** Environment for the CLI on a terminal. */
  readonly cliEnvironment: Record<string, string>;
  readonly nodeSocket: string;
  readonly hubNodeSocket: string;
  /** To start the hub again. */
  readonly hubEnvironment: Record<string, string>;
}

export const NODE_NAME = 'demo-node';

export async function startLab(stage: Stage): Promise<LabFacts> {
  stage.start('sendense-lab', ['serve', '--dir', stage.path('lab'), '--keep-frozen'], {});
  return stage.until('the lab', async () => {
    const line = readFileSync(stage.path('log', 'sendense-lab.log'), 'utf8')
      .split('\n')
      .find((text) => text.startsWith('{') && text.includes('"endpoint"'));
    return Promise.resolve(line === undefined ? undefined : (JSON.parse(line) as LabFacts));
  });
}

/** Starts the hub with a token, then enrols and starts the node. */
export async function startPair(
  stage: Stage,
  lab: LabFacts,
  options: { readonly showPreflight?: boolean; readonly hubSettings?: Record<string, string> } = {},
): Promise<Constellation> {
  const [apiPort, tunnelPort] = [await freePort(), await freePort()];
  const hub = {
    SENDENSE_API_LISTEN: `127.0.0.1:${apiPort}`,
    SENDENSE_TUNNEL_LISTEN: `127.0.0.1:${tunnelPort}`,
    SENDENSE_NBD_PORTS: await freePortRange(10_100, 101),
    SENDENSE_DATA_DIR: stage.path('hub'),
    SENDENSE_RUNTIME_DIR: stage.path('run', 'hub'),
    SENDENSE_EXPORT_DIR: stage.path('exports'),
    // What runs is only what was asked for: the demo counts processes, the bench takes times.
    SENDENSE_VERIFY_EVERY_DAYS: '0',
    ...options.hubSettings,
  };
  mkdirSync(hub.SENDENSE_EXPORT_DIR, { recursive: true, mode: 0o750 });
  const url = `http://127.0.0.1:${apiPort}`;
  const token = (
    await stage.run('sendense-hub', ['token', 'create', '--name', 'demo', '--role', 'admin'], hub)
  ).trim();
  await startHub(stage, hub);

  const cliEnvironment = { SENDENSE_URL: url, SENDENSE_TOKEN: token, HOME: stage.path('home') };
  const cli = async <T>(...args: string[]) =>
    JSON.parse(await stage.run('sendense', ['--json', ...args], cliEnvironment)) as T;
  await startNode(stage, {
    ...{ name: NODE_NAME, folder: 'node', hubPort: tunnelPort, lab, cli },
    showPreflight: options.showPreflight ?? true,
  });
  return {
    ...{ url, token, tunnelPort, lab, cli, cliEnvironment },
    nodeSocket: stage.path('run', 'node', 'node.sock'),
    hubNodeSocket: stage.path('run', 'hub', 'nodes', `${NODE_NAME}.sock`),
    hubEnvironment: hub,
  };
}

/** Starts a hub and waits until it answers. */
export async function startHub(stage: Stage, environment: Record<string, string>): Promise<void> {
  stage.start('sendense-hub', ['run'], environment);
  const health = `http://${environment['SENDENSE_API_LISTEN']}/health`;
  await stage.until('the hub', async () => ((await fetch(health)).ok ? true : undefined));
}

export interface NodeOptions {
  readonly name: string;
  /** Of its data, and of its sockets below `run`. */
  readonly folder: string;
  /** Where it finds the hub on the loopback. */
  readonly hubPort: number;
  readonly lab: LabFacts;
  readonly cli: Constellation['cli'];
  /** Print what preflight says. */
  readonly showPreflight: boolean;
  readonly settings?: Record<string, string>;
}

/** Enrols a node, starts it, and waits until the hub sees it. @returns its environment, to start it again */
export async function startNode(stage: Stage, options: NodeOptions): Promise<Record<string, string>> {
  const { name, folder, hubPort, lab, cli, showPreflight } = options;
  const plugin = process.env['SENDENSE_NBDKIT_VDDK_PLUGIN'];
  const node = {
    SENDENSE_DATA_DIR: stage.path(folder),
    SENDENSE_RUNTIME_DIR: stage.path('run', folder),
    SENDENSE_VDDK_LIBDIR: lab.vddk_libdir,
    ...(plugin ? { SENDENSE_NBDKIT_VDDK_PLUGIN: plugin } : {}),
    ...lab.vddk_env,
    ...options.settings,
  };
  const { enrolment_token } = await cli<{ enrolment_token: string }>('node', 'add', name);
  await stage.run(
    'sendense-node',
    ['enrol', '--hub', `127.0.0.1:${hubPort}`, '--token', enrolment_token],
    node,
  );
  if (showPreflight) await stage.show('sendense-node', ['preflight'], node);
  stage.start('sendense-node', ['run'], node);
  await stage.until('the node to be online', async () => {
    const { state } = await cli<{ state: string }>('node', 'show', name);
    return state === 'online' ? true : undefined;
  });
  return node;
}
