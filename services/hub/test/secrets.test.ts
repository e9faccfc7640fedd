import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { ChildProcess, silentLogger } from '@sendense/runtime';
import { eventually, requires } from '@sendense/runtime/testing';
import { filesBelow, PlantedSecrets, ProcessListWatch } from '@sendense/runtime/testing/secrets';
import { parseEnrolmentToken } from '@sendense/tunnel';
import { CONSTELLATION_TOOLS, type BackupBody } from './constellation.js';
import { TwoPrograms } from './stage/two-programs.js';

const MIB = 2 ** 20;
const password = (use: string) => `planted-${use}-${randomBytes(12).toString('hex')}`;

/** Where a secret belongs, below the folder of the test. */
const HOMES = ['hub/data/credential.key', 'hub/data/tunnel_host_ed25519', 'node/id_ed25519'];
/** The lab plays vCenter: it knows its own password, and is no part of the product. */
const NOT_OURS = ['lab'];

describe('secrets are recognised', () => {
  it.each(['plain', 'hex', 'base64', 'base64url', 'utf16le'] as const)(
    'in %s, wherever they stand',
    (disguise) => {
      const secrets = new PlantedSecrets();
      const secret = password('any');
      secrets.plant('it', secret);
      for (const before of ['', 'a', 'ab', 'abc']) {
        const text = `${before}${secret} and more`;
        const hidden =
          disguise === 'utf16le'
            ? Buffer.from(text, disguise)
            : Buffer.from(text).toString(disguise === 'plain' ? 'utf8' : disguise);
        expect(secrets.in(hidden)).not.toEqual([]);
      }
      expect(secrets.in(password('any'))).toEqual([]);
    },
  );
});

describe('a look at the process list', () => {
  it('names the process that shows a secret, and where', async () => {
    const secrets = new PlantedSecrets();
    const [argument, variable] = [password('argument'), password('variable')];
    secrets.plant('the one', argument);
    secrets.plant('the other', variable);
    using watch = new ProcessListWatch(secrets, () => undefined);
    // Without a child of its own, whose end would have to be waited for.
    const args = ['-e', 'setInterval(() => {}, 60_000)', argument];
    await using child = await ChildProcess.spawn(process.execPath, args, {
      ...{ name: 'node', owner: 'test', log: silentLogger, env: { VARIABLE: variable } },
    });
    await eventually('both are seen', () => watch.found.size >= 2);
    const found = [...watch.found].join('\n');
    expect(found).toMatch(/^argv of .*node .*: the one$/m);
    expect(found).toMatch(/^environment of .*node .*: the other$/m);
    await child.terminate();
  });
});

requires(describe, ...CONSTELLATION_TOOLS)('no secret is to be seen', () => {
  const secrets = new PlantedSecrets();
  const passwords = { first: password('first'), second: password('second'), wrong: password('wrong') };
  let all: TwoPrograms;
  let folder: string | undefined;
  let watch: ProcessListWatch;
  const ids: Record<string, string> = {};
  const backups: BackupBody[] = [];

  beforeAll(async () => {
    for (const [name, secret] of Object.entries(passwords))
      secrets.plant(`the ${name} vCenter password`, secret);
    watch = new ProcessListWatch(secrets, () => folder);
    all = await TwoPrograms.start(passwords.first);
    folder = all.folder;
    secrets.plant('the API token', all.token);
    plantKey('the host key', 'hub/data/tunnel_host_ed25519');
  });

  afterAll(async () => {
    watch[Symbol.dispose]();
    await all[Symbol.asyncDispose]();
  });

  /** The private half of an OpenSSH key: the lines of the file, and the 32 bytes in them. */
  function plantKey(name: string, path: string): void {
    const lines = readFileSync(join(all.folder, path), 'utf8').trim().split('\n').slice(1, -1);
    // The first line holds the public half, which is public.
    for (const line of lines.slice(2)) if (line.length >= 12) secrets.plant(`${name} as in its file`, line);
    const blob = Buffer.from(lines.join(''), 'base64');
    // openssh-key-v1 ends with: length 64, seed (32), public point (32), comment, padding.
    const at = blob.lastIndexOf(Buffer.from([0, 0, 0, 64]));
    secrets.plant(name, blob.subarray(at + 4, at + 36));
  }

  async function must<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await all.call<T>(method, path, body);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.text}`);
    all.written.push(answer.text);
    return answer.body;
  }

  async function refused(method: string, path: string, body: unknown): Promise<string> {
    const { status, text, body: problem } = await all.call<{ code: string }>(method, path, body);
    expect(status).toBeGreaterThanOrEqual(400);
    all.written.push(text);
    return problem.code;
  }

  const request = (type: string) => ({
    ...{ vm_name: 'pgtest1', repository_id: ids['repository'], backup_type: type },
  });

  async function start(type: string): Promise<string> {
    return (await must<BackupBody>('POST', '/api/v1/backups', request(type))).backup_id;
  }

  async function backUp(type: string): Promise<BackupBody> {
    const ended = await all.ended(await start(type));
    backups.push(ended);
    return ended;
  }

  it('while a node is enrolled and a vCenter added, with mistakes', async () => {
    const made = await all.call<{ enrolment_token: string }>('POST', '/api/v1/nodes', { name: 'site-1' });
    const token = made.body.enrolment_token; // The one answer that it belongs into.
    secrets.plant('the enrolment token', token);
    secrets.plant("the enrolment token's secret", parseEnrolmentToken(token).secret);
    await all.enrolNode(token);
    plantKey("the node's key", 'node/id_ed25519');
    await all.startNode();
    const { endpoint, username, thumbprints } = all.lab;
    const vcenter = { name: 'lab', node_name: 'site-1', endpoint, username, thumbprint: thumbprints.sha256 };
    const add = (more: object) => refused('POST', '/api/v1/vcenters', { ...vcenter, ...more });
    expect(await add({ password: passwords.wrong })).toBe('vcenter_login_failed');
    expect(await add({ password: passwords.first, name: 5 })).toBe('invalid_argument');
    expect(await add({ password: passwords.first, thumbprint: undefined })).toBe(
      'vcenter_thumbprint_unconfirmed',
    );
    const { vcenter_id } = await must<Record<string, string>>('POST', '/api/v1/vcenters', {
      ...{ ...vcenter, password: passwords.first },
    });
    ids['vcenter'] = vcenter_id!;
    const [, key = ''] = readFileSync(join(all.folder, HOMES[0]!), 'utf8')
      .trim()
      .split('\n')
      .at(-1)!
      .split(' ');
    secrets.plant('the credential key', key);
    secrets.plant('the bytes of the credential key', Buffer.from(key, 'base64'));
    const path = join(all.folder, 'repository');
    mkdirSync(path);
    const repository = await must<Record<string, string>>('POST', '/api/v1/repositories', {
      ...{ name: 'main', type: 'local', path },
    });
    ids['repository'] = repository['repository_id']!;
  }, 180_000);

  it('while a full and an incremental backup run', async () => {
    const vm = await all.lab.createVm({
      name: 'pgtest1',
      disks: [{ sizeBytes: 16 * MIB }, { sizeBytes: 8 * MIB }],
    });
    for (const { key } of vm.disks)
      await all.lab.guestWrite(vm.moref, key, { offset: 0, random: 'x', length: 4 * MIB });
    const body = { vcenter_id: ids['vcenter'], vm_name: 'pgtest1' };
    ids['context'] = (await must<Record<string, string>>('POST', '/api/v1/vms', body))['context_id']!;
    // Long enough to be looked at.
    all.lab.setFault({ operation: 'vddk.read', delayMs: 1_000 });
    const id = await start('full');
    await eventually(
      'it copies',
      async () =>
        (await must<BackupBody>('GET', `/api/v1/backups/${id}`)).disk_results[0]?.status === 'copying',
    );
    watch.look();
    expect(secrets.inFiles(all.folder, [...HOMES, ...NOT_OURS])).toEqual({});
    const full = await all.ended(id);
    backups.push(full);
    expect(full).toMatchObject({ state: 'completed', error: null });
    all.lab.clearFaults();
    await all.lab.guestWrite(vm.moref, 2000, { offset: MIB, random: 'y', length: MIB });
    expect(await backUp('incremental')).toMatchObject({
      state: 'completed',
      disk_results: [{ backup_type: 'incremental' }, {}],
    });
  }, 240_000);

  it('when the password has been changed in vCenter, until it is changed here', async () => {
    await all.startLab(passwords.second);
    // It is looked into before the backup is accepted.
    expect(await refused('POST', '/api/v1/backups', request('incremental'))).toBe('vcenter_login_failed');
    const path = `/api/v1/vcenters/${ids['vcenter']}`;
    expect(await refused('PATCH', path, { password: passwords.wrong })).toBe('vcenter_login_failed');
    await must('PATCH', path, { password: passwords.second });
    await must('POST', `${path}/check`);
  }, 180_000);

  it('when the node dies in the middle', async () => {
    all.lab.setFault({ operation: 'vddk.read', delayMs: 30_000 });
    const id = await start('full');
    await eventually(
      'it copies',
      async () =>
        (await must<BackupBody>('GET', `/api/v1/backups/${id}`)).disk_results[0]?.status === 'copying',
    );
    await all.killNode();
    const lost = await all.ended(id);
    backups.push(lost);
    expect(lost).toMatchObject({ state: 'failed', error: { code: 'node_lost' } });
    all.lab.clearFaults();
    await all.startNode();
    expect(await backUp('incremental')).toMatchObject({ state: 'completed' });
  }, 240_000);

  it('in what any GET answers, events included', async () => {
    const point = backups[0]!.backup_id;
    const task = await must<Record<string, string>>('POST', `/api/v1/restore-points/${point}/verify`, {});
    const { paths } = await must<{ paths: Record<string, Record<string, unknown>> }>('GET', '/openapi.json');
    const known: Record<string, readonly string[]> = {
      repositories: [ids['repository']!],
      nodes: ['site-1'],
      vcenters: [ids['vcenter']!],
      vms: [ids['context']!],
      backups: backups.map(({ backup_id }) => backup_id),
      'restore-points': [point],
      tasks: [task['task_id']!],
    };
    const routes = Object.entries(paths).filter(([, methods]) => 'get' in methods);
    expect(routes.length).toBeGreaterThan(20);
    for (const [route] of routes) {
      const [, kind = ''] = /^\/api\/v1\/([a-z-]+)\/\{/.exec(route) ?? [];
      for (const id of kind === '' ? [''] : (known[kind] ?? [])) {
        const query = route.endsWith('/preview') ? `?repository_id=${ids['repository']}` : '';
        const path = route.replace(/\{\w+\}/, id) + query;
        const { status, text } = await all.call('GET', path);
        expect([path, status]).toEqual([path, 200]);
        expect([path, secrets.in(text)]).toEqual([path, []]);
      }
      if (kind !== '') expect(known).toHaveProperty([kind]);
    }
  }, 180_000);

  it('in process lists, logs, answers and files, but where it belongs', async () => {
    const everything = [...watch.programs].join('\n');
    for (const program of ['nbdkit', 'qemu-nbd', 'backup-client', 'tunnel', 'node-agent', 'hub'])
      expect(everything).toContain(program);
    await all.stop();
    expect([...watch.found]).toEqual([]);
    const logs = all.written.join('\n');
    for (const said of ['"the hub runs"', '"node started"', 'vcenter_login_failed'])
      expect(logs).toContain(said);
    expect(secrets.in(logs)).toEqual([]);
    expect(secrets.inFiles(all.folder, [...HOMES, ...NOT_OURS])).toEqual({});
    const files = filesBelow(all.folder);
    for (const part of ['catalog', '.qcow2', '.hashes', '.json', ...HOMES])
      expect(files.join('\n')).toContain(part);
    // The search finds what is there.
    for (const home of HOMES) expect(secrets.in(readFileSync(join(all.folder, home)))).not.toEqual([]);
    const cores = [...files, ...readdirSync('.')].filter((name) => /(^|\/)core(\.\d+)?$/.test(name));
    expect(cores).toEqual([]);
  }, 180_000);
});
