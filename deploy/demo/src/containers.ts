import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { SendenseError } from '@sendense/core';
import { delay } from '@sendense/runtime';
import { NODE_NAME, type LabFacts, type Programs } from '@sendense/stage';
import { inLab } from './guest.js';
import { makeGuestDisks } from './guest-disks.js';
import { configure, createVm, say, showEverything, type Hub } from './show.js';

/** Where the volumes of docker-compose.yml are in the container of the demo. */
const FOLDERS: Readonly<Record<string, string>> = {
  lab: '/var/lib/sendense-lab',
  repository: '/srv/backup',
  work: '/var/lib/sendense-demo',
};
/** The node takes the token from there, enrols itself with it, and removes it. */
const ENROLMENT_TOKEN = '/run/enrolment/token';
const ONLINE_WITHIN_MS = 60_000;

/** The programs of this image, and the folders that it shares with the other containers. */
const programs: Programs = {
  path: (part = '', ...rest) => join(FOLDERS[part] ?? '/tmp', ...rest),
  run: async (program, args, env = {}, input) => {
    const stdin = input === undefined ? { stdin: 'ignore' as const } : { input };
    const result = await execa(program, args, { env, reject: false, ...stdin });
    if (result.exitCode === 0) return result.stdout;
    const what = `${program} ${args.slice(0, 2).join(' ')}`;
    throw new SendenseError('process_failed', `${what} failed: ${result.stderr || result.stdout}`);
  },
  show: async (program, args, env) =>
    (await execa(program, args, { env, reject: false, stdio: 'inherit' })).exitCode ?? 1,
};

/**
 * The demonstration against the hub, the node and the lab of docker-compose.yml. Each run has a VM of its own.
 * @returns whether everything that it shows was true
 */
export async function runDemoInContainers(env: NodeJS.ProcessEnv): Promise<boolean> {
  const hub = await findHub(env);
  say('making the guest disks: partition tables, ext4, files');
  await rm(programs.path('work', 'guest'), { recursive: true, force: true });
  const disks = await makeGuestDisks(programs.path('work', 'guest'));
  const vm = await nextVm();
  await createVm(programs, vm, disks);
  const node = await enrolNode(hub);
  say('adding vCenter and the repository');
  const lab = JSON.parse(await inLab(programs, 'info', '--json')) as LabFacts;
  const configured = await configure(hub, {
    ...{ lab, node, vm },
    repositoryPath: programs.path('repository'),
  });
  const facts = await showEverything(programs, hub, { vm, ...configured, disks });
  await rm(programs.path('work', 'guest'), { recursive: true, force: true });
  console.log(JSON.stringify(facts));
  return facts.ok;
}

/** With the token that the hub's container made at its first start. */
async function findHub(env: NodeJS.ProcessEnv): Promise<Hub> {
  const { SENDENSE_URL: url = '', XDG_CONFIG_HOME: folder = '' } = env;
  const token = (await readFile(join(folder, 'token'), 'utf8')).trim();
  const cliEnvironment = { SENDENSE_URL: url, XDG_CONFIG_HOME: folder };
  const cli = async <T>(...args: string[]) =>
    JSON.parse(await programs.run('sendense', ['--json', ...args], cliEnvironment)) as T;
  return { url, token, cli, cliEnvironment };
}

async function nextVm(): Promise<string> {
  const vms = JSON.parse(await inLab(programs, 'vm', 'list', '--json')) as readonly unknown[];
  return `pgtest${vms.length + 1}`;
}

/** Has the node enrol itself, unless it did already, and waits until the hub sees it. @returns its name */
async function enrolNode({ cli }: Hub): Promise<string> {
  const nodes = await cli<readonly { name: string; state: string }[]>('node', 'list');
  const enrolled = nodes.find(({ state }) => state === 'online' || state === 'offline');
  const name = enrolled?.name ?? NODE_NAME;
  if (!enrolled) {
    say(`enrolling the node as ${name}`);
    const how = nodes.some((node) => node.name === name) ? 'token' : 'add';
    const { enrolment_token: token } = await cli<{ enrolment_token: string }>('node', how, name);
    await writeFile(`${ENROLMENT_TOKEN}.new`, `${token}\n`, { mode: 0o600 });
    await rename(`${ENROLMENT_TOKEN}.new`, ENROLMENT_TOKEN);
  }
  const end = Date.now() + ONLINE_WITHIN_MS;
  while ((await cli<{ state: string }>('node', 'show', name)).state !== 'online') {
    if (Date.now() > end)
      throw new SendenseError('timeout', 'the node does not come online: docker compose logs node hub');
    await delay(500);
  }
  return name;
}
