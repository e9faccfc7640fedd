import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { temporaryDirectory } from '@sendense/runtime/testing';
import type { PlantedSecrets, ProcessListWatch } from '@sendense/runtime/testing/secrets';
import { docker } from './docker.js';
import type { Environment, Service } from './environment.js';
import type { Walked } from './walk.js';

const SERVICES: readonly Service[] = ['hub', 'node', 'lab', 'mariadb'];
/** Volumes, and where in them a secret belongs. That of the lab is left out: it plays vCenter, and knows its password. */
const VOLUMES: Readonly<Record<string, readonly string[]>> = {
  'hub-data': ['credential.key', 'tunnel_host_ed25519'],
  'hub-admin': ['token', 'sendense/config.json'],
  'node-data': ['id_ed25519'],
  ...{ 'hub-run': [], 'node-run': [], enrolment: [], database: [], repository: [], vddk: [] },
};

export interface Watched {
  readonly secrets: PlantedSecrets;
  readonly processes: ProcessListWatch;
}

/** The last part: looks at what everything before it left to be seen. */
export function secretsTests(environment: () => Environment, watched: () => Watched, walked: Walked): void {
  const homes = async () => {
    const folders: Record<string, string> = {};
    for (const name of Object.keys(VOLUMES)) folders[name] = await environment().volume(name);
    return folders;
  };

  it('knows the secrets of this environment', async () => {
    const { secrets } = watched();
    const volumes = await homes();
    const file = (volume: string, path: string) => readFileSync(join(volumes[volume] ?? '', path));
    const key = (pem: Buffer) => pem.toString().split('\n')[1] ?? '';
    secrets.plant('the password of vCenter', walked.vcenterPassword ?? '');
    secrets.plant('the enrolment token', walked.enrolmentToken ?? '');
    secrets.plant('the key of the stored passwords', file('hub-data', 'credential.key'));
    secrets.plant("the hub's key", key(file('hub-data', 'tunnel_host_ed25519')));
    secrets.plant("the node's key", key(file('node-data', 'id_ed25519')));
  });

  it('shows none in what the containers print', async () => {
    const logs = await environment().logs();
    expect(logs).toContain('the hub runs');
    expect(watched().secrets.in(logs)).toEqual([]);
    // Node's own warnings, such as of listeners that gather: the environment has run for minutes by now.
    expect(logs.split('\n').filter((line) => /\(node:\d+\) \w*Warning/.test(line))).toEqual([]);
  });

  it('shows none in answers and events of the API', async () => {
    const { api } = environment();
    for (const path of ['audit-events', 'nodes', 'vcenters', 'vms', 'repositories', 'backups', 'system'])
      await api.get(path);
    expect(api.answers.length).toBeGreaterThan(20);
    expect(watched().secrets.in(api.answers.join('\n'))).toEqual([]);
  });

  it('shows none in the command line or environment of any process', async () => {
    const { processes } = watched();
    processes.look();
    expect([...processes.found]).toEqual([]);
  });

  it('shows none in what Docker tells of containers and images', async () => {
    const told: string[] = [];
    for (const service of SERVICES) {
      told.push(await docker('inspect', environment().container(service)));
      told.push(await docker('inspect', `sendense/${service}`));
      told.push(await docker('history', '--no-trunc', `sendense/${service}`));
    }
    expect(watched().secrets.in(told.join('\n'))).toEqual([]);
    // What the build was given of this machine is not handed on.
    expect(told.join('\n')).not.toMatch(/BEGIN CERTIFICATE|_authToken/);
  });

  it('leaves none in a volume but where it belongs, and no core file', async () => {
    const found: string[] = [];
    for (const [name, folder] of Object.entries(await homes())) {
      const hits = await grep(patterns(), (file) => `grep -raoF -f ${file} "$1" || [ $? = 1 ]`, folder);
      const elsewhere = hits.filter(
        (hit) => !VOLUMES[name]?.some((home) => hit.startsWith(`${folder}/${home}:`)),
      );
      found.push(...elsewhere.map((hit) => named(hit)));
      const cores = await grep([], () => 'find "$1" -type f -name "core*"', folder);
      found.push(...cores);
    }
    expect(found).toEqual([]);
  }, 120_000);

  it('has none in a layer of an image', async () => {
    const images = SERVICES.map((service) => `sendense/${service}`);
    const strangers = [...patterns(), '_authToken'];
    const command = (file: string) => `docker save "$@" | grep -aoF -f ${file} | sort -u`;
    expect((await grep(strangers, command, ...images)).map((hit) => named(hit))).toEqual([]);
  }, 300_000);

  it.each([
    ['a folder without one, which cannot be written', 'chmod 500 "$1"', 'there is no file'],
    ['a short one', 'echo short >"$1/database-password"; chmod 400 "$1"/*', 'shorter than 16'],
    [
      'one that others can read',
      'echo long-enough-for-it >"$1/database-password"; chmod 444 "$1"/*',
      'by others',
    ],
  ])('does not start with %s, and says why', async (_what, prepare, reason) => {
    using folder = temporaryDirectory('sds');
    await run(`umask 077; ${prepare}; chown -R 10001:10001 "$1"`, [folder.path]);
    const started = docker(
      ...['run', '--rm', '--volume', `${folder.path}:/secrets`, '--entrypoint', 'settle-secrets'],
      ...['sendense/hub', '/secrets'],
    );
    await expect(started).rejects.toThrow(reason);
  });

  const patterns = () => watched().secrets.patterns.map(({ text }) => text);
  /** What was found and where, without the secret itself. */
  const named = (hit: string) => {
    const secret = watched().secrets.patterns.find(({ text }) => hit.endsWith(text));
    return secret ? `${hit.slice(0, -secret.text.length)}${secret.name}` : hit;
  };
}

/** A shell command that reads patterns from a file that nobody else can read. @returns the lines that it prints */
function grep(
  patterns: readonly string[],
  command: (file: string) => string,
  ...args: readonly string[]
): Promise<string[]> {
  const folder = temporaryDirectory('sdp');
  const file = join(folder.path, 'patterns');
  writeFileSync(file, `${patterns.join('\n')}\n`, { mode: 0o600 });
  return run(command(file), args).finally(() => folder[Symbol.dispose]());
}

function run(command: string, args: readonly string[]): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const options = { env: { ...process.env, LC_ALL: 'C' }, maxBuffer: 64 << 20 };
    execFile('bash', ['-c', command, 'bash', ...args], options, (error, stdout) => {
      // grep's 1 is: nothing found.
      if (error && error.code !== 1) reject(error);
      else resolve(stdout.split('\n').filter((line) => line !== ''));
    });
  });
}
