import { randomBytes } from 'node:crypto';
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { DockerComposeEnvironment, Wait, type StartedDockerComposeEnvironment } from 'testcontainers';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { Api } from './api.js';
import { docker, inspect, logsOf, type ContainerFacts } from './docker.js';

export const ROOT = resolve(import.meta.dirname, '../../../..');
/** Of Docker's names, and short. */
const PROJECT = 'sendense-suite';
/** The user of every image. */
const USER = 10_001;
/** A busy machine takes its time to start five containers. */
const START_MS = 240_000;
const SLOW_MS = 120_000;

export type Service = 'hub' | 'node' | 'mariadb' | 'lab';

/** What docker-compose.yml makes, brought up for a test under a name of its own. */
export class Environment implements AsyncDisposable {
  private constructor(
    readonly api: Api,
    readonly databasePassword: string,
    readonly started: StartedDockerComposeEnvironment,
    private readonly folder: Disposable & { readonly path: string },
    private readonly variables: Record<string, string>,
  ) {}

  /** The images are built first, of what is compiled here. What an earlier run left is removed. */
  static async up(): Promise<Environment> {
    // While working on the suite itself the images may stay as they are.
    if (process.env['COMPOSE_SUITE_IMAGES'] !== 'keep')
      await execa(join(ROOT, 'deploy/images/build'), { cwd: ROOT });
    const folder = temporaryDirectory('sdk');
    const databasePassword = `planted-database-${randomBytes(12).toString('hex')}`;
    const port = await freePort();
    const secrets = join(folder.path, 'secrets');
    plantPassword(secrets, databasePassword);
    const variables = {
      ...{ SENDENSE_API_PORT: String(port), SENDENSE_SECRETS: secrets },
      PATH: process.env['PATH'] ?? '',
    };
    await down(variables);
    // Its reaper is an image of a registry. What a run that is killed leaves, the next one removes.
    process.env['TESTCONTAINERS_RYUK_DISABLED'] ??= 'true';
    const started = await new DockerComposeEnvironment(ROOT, 'docker-compose.yml')
      .withProjectName(PROJECT)
      .withEnvironment(variables)
      .withDefaultWaitStrategy(Wait.forHealthCheck())
      .withStartupTimeout(START_MS)
      .up()
      .catch(async (error: unknown) => {
        const logs = await logsOf(PROJECT);
        await down(variables);
        throw new Error(`the environment does not come up: ${String(error)}\n${logs}`, { cause: error });
      });
    const token = await docker('exec', `${PROJECT}-hub-1`, 'cat', '/var/lib/sendense-admin/token');
    const api = new Api(`http://127.0.0.1:${port}`, token.trim());
    return new Environment(api, databasePassword, started, folder, variables);
  }

  container(service: Service): string {
    return `${PROJECT}-${service}-1`;
  }

  network(name: 'site' | 'wan' | 'backend'): string {
    return `${PROJECT}_${name}`;
  }

  inspect(service: Service): Promise<ContainerFacts> {
    return inspect(this.container(service));
  }

  /** A command in the container of a service. @returns its stdout */
  exec(service: Service, command: readonly string[], input = ''): Promise<string> {
    return docker('exec', '-i', this.container(service), ...command, { input });
  }

  /** A program for the Node that a container has. @returns its stdout */
  script(service: 'hub' | 'node' | 'lab', program: string): Promise<string> {
    return this.exec(service, ['/opt/sendense/node/bin/node', '--input-type=module', '-'], program);
  }

  lab(...args: string[]): Promise<string> {
    return this.exec('lab', ['sendense-lab', ...args]);
  }

  async labJson<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.lab(...args, '--json')) as T;
  }

  /**
   * A shell script with stock tools where the repository and the lab's disks are: the container of the demo, which has
   * both, and nothing else runs in it. @returns its stdout @throws when it fails
   */
  async stock(script: string, ...args: readonly string[]): Promise<string> {
    const name = `${PROJECT}-stock`;
    if ((await docker('ps', '--quiet', '--filter', `name=${name}`)) === '') {
      const { exitCode, stderr } = await this.compose(
        ...['run', '--detach', '--no-deps', '--name', name, '--entrypoint', 'sleep', 'demo', 'infinity'],
      );
      if (exitCode !== 0) throw new Error(`docker compose run: ${stderr}`);
    }
    return docker('exec', name, 'sh', '-euc', script, 'sh', ...args);
  }

  /** Where a volume is on this machine, which is where the engine runs. */
  async volume(name: string): Promise<string> {
    return (await docker('volume', 'inspect', '--format', '{{.Mountpoint}}', `${PROJECT}_${name}`)).trim();
  }

  async healthy(service: Service): Promise<void> {
    await eventually(
      `${service} is healthy`,
      async () => (await this.inspect(service)).State.Health?.Status === 'healthy',
      SLOW_MS,
    );
  }

  async nodeOnline(): Promise<void> {
    await eventually(
      'the node is online',
      async () => (await this.api.get<{ state: string }>('nodes/site-1')).state === 'online',
      SLOW_MS,
    );
  }

  logs(): Promise<string> {
    return logsOf(PROJECT);
  }

  /** `docker compose` for this environment. */
  compose(...args: string[]) {
    return compose(this.variables, ...args);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await down(this.variables);
    this.folder[Symbol.dispose]();
  }
}

function compose(variables: Record<string, string>, ...args: string[]) {
  return execa('docker', ['compose', '-p', PROJECT, '--profile', 'demo', ...args], {
    ...{ cwd: ROOT, env: variables, reject: false, stdin: 'ignore' },
  });
}

async function down(variables: Record<string, string>): Promise<void> {
  await compose(variables, 'down', '--volumes', '--remove-orphans', '--timeout', '5');
}

/** As an operator would put it there. */
function plantPassword(folder: string, password: string): void {
  mkdirSync(folder, { mode: 0o700 });
  const file = join(folder, 'database-password');
  writeFileSync(file, `${password}\n`, { mode: 0o400 });
  for (const path of [folder, file]) chownSync(path, USER, USER);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const address = server.address();
  await new Promise<unknown>((closed) => server.close(closed));
  if (typeof address !== 'object' || address === null) throw new Error('no free port');
  return address.port;
}
