import { execFile } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { GetNodeResponse } from '@sendense/contracts';
import { silentLogger } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { enrolmentPath, keyPath } from '../src/enrolment/enrolment.js';
import { createNode, enrolNode } from '../src/index.js';
import { TestClient } from './node-client.js';
import { startTestHub, type TestHub } from './test-hub.js';

const run = promisify(execFile);
const PROGRAM = fileURLToPath(new URL('../src/main.js', import.meta.url));

let hub: TestHub;
let folder: ReturnType<typeof temporaryDirectory>;
let dataDirectory: string;
let runtimeDirectory: string;
beforeAll(async () => {
  hub = await startTestHub();
  folder = temporaryDirectory('node');
  dataDirectory = join(folder.path, 'data');
  runtimeDirectory = join(folder.path, 'run');
});
afterAll(async () => {
  await hub[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the program as an administrator would. */
async function sendenseNode(args: string[], env: Record<string, string> = {}): Promise<Result> {
  const base = { ...process.env, SENDENSE_DATA_DIR: dataDirectory, SENDENSE_RUNTIME_DIR: runtimeDirectory };
  const options = { env: { ...base, SENDENSE_LOG_LEVEL: 'silent', NODE_OPTIONS: '', ...env } };
  return run(process.execPath, ['--disable-warning=ExperimentalWarning', PROGRAM, ...args], options).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: Result) => ({ code: error.code, stdout: error.stdout, stderr: error.stderr }),
  );
}

interface Preflight {
  readonly ok: boolean;
  readonly checks: { readonly name: string; readonly ok: boolean; readonly detail: string }[];
}

async function preflight(env: Record<string, string> = {}): Promise<Preflight & { code: number }> {
  const { code, stdout } = await sendenseNode(['preflight', '--json'], env);
  return { code, ...(JSON.parse(stdout) as Preflight) };
}

const failed = ({ checks }: Preflight) => checks.filter(({ ok }) => !ok).map(({ name }) => name);

// One story, in order: each step needs the one before.
describe('a node and its hub', () => {
  it('is told by preflight that it is not enrolled, and how to do that', async () => {
    const result = await preflight();
    expect(result.code).toBe(1);
    expect(failed(result)).toEqual(expect.arrayContaining(['enrolment', 'key']));
    expect(result.checks.find(({ name }) => name === 'enrolment')!.detail).toContain(
      'sendense-node enrol --hub',
    );
  });

  it('does not start before it is enrolled', async () => {
    const { code, stderr } = await sendenseNode(['run']);
    expect(code).toBe(2);
    expect(stderr).toContain('[invalid_config]');
  });

  it('enrols with a token from a file', async () => {
    const tokenFile = join(folder.path, 'token');
    writeFileSync(tokenFile, `${hub.token}\n`);
    const { code, stdout, stderr } = await sendenseNode([
      'enrol',
      '--hub',
      `${hub.host}:${hub.port}`,
      '--token-file',
      tokenFile,
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('enrolled as sna1');
    expect(statSync(keyPath(dataDirectory)).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(enrolmentPath(dataDirectory), 'utf8'))).toMatchObject({
      nodeName: 'sna1',
      hub: { host: hub.host, port: hub.port, hostKeyFingerprint: hub.tunnel.hostKeyFingerprint },
    });
  });

  it('is not enrolled a second time by mistake, and keeps what it has when the hub refuses', async () => {
    const before = readFileSync(keyPath(dataDirectory), 'utf8');
    const again = { dataDirectory, hub, token: hub.token };
    await expect(enrolNode(again)).rejects.toMatchObject({ code: 'already_exists' });
    await expect(enrolNode({ ...again, force: true })).rejects.toMatchObject({ code: 'enrolment_refused' });
    expect(readFileSync(keyPath(dataDirectory), 'utf8')).toBe(before);
  });

  it('refuses a token that is none', async () => {
    const { code, stderr } = await sendenseNode([
      'enrol',
      '--hub',
      hub.host,
      '--token',
      'nonsense',
      '--force',
    ]);
    expect(stderr).toContain('[invalid_argument]');
    expect(code).toBe(2);
  });

  it('passes the checks of its hub, on the port that is really used', async () => {
    const result = await preflight();
    const rows = new Map(result.checks.map((check) => [check.name, check]));
    for (const name of ['configuration', 'enrolment', 'key', 'hub_port', 'hub_host_key', 'hub_accepts_key'])
      expect(rows.get(name)).toMatchObject({ ok: true });
    expect(rows.get('hub_port')!.detail).toContain(String(hub.port));
    for (const name of ['grpc_socket', 'nbdkit', 'hash_space', 'clock']) expect(rows.has(name)).toBe(true);
  });

  it('prints a table for people', async () => {
    const { stdout } = await sendenseNode(['preflight'], { SENDENSE_NBDKIT: '/nowhere/nbdkit' });
    expect(stdout).toMatch(/^hub_port +ok {3}/m);
    expect(stdout).toMatch(/^nbdkit +FAIL .*nowhere/m);
    expect(stdout).toMatch(/checks failed$/m);
  });

  it('names a setting that does not exist', async () => {
    const { code, stderr } = await sendenseNode(['run'], { SENDENSE_LANE: '4' });
    expect(code).toBe(2);
    expect(stderr).toContain('did you mean SENDENSE_LANES?');
  });

  it('answers its hub through the tunnel', async () => {
    const config = {
      dataDirectory,
      runtimeDirectory,
      logLevel: 'silent' as const,
      nbdkit: 'nbdkit',
      nbdkitVddkPlugin: 'vddk',
      lanes: 1,
      parallelDisks: 1,
    };
    await using node = await createNode(config, silentLogger);
    await eventually('the tunnel is up', () => {
      return hub.tunnel.isConnected('sna1') && node.tunnelState === 'connected';
    });
    using client = new TestClient(hub.tunnel.socketPath('sna1'));
    const answer = await client.call<GetNodeResponse>((done) => client.grpc.getNode({}, done));
    expect(answer).toMatchObject({ name: 'sna1', runningJobs: 0 });
    await expect(enrolNode({ dataDirectory, hub, token: hub.token, force: true })).rejects.toMatchObject({
      code: 'data_directory_in_use',
    });
  });

  it('says in preflight that its key was revoked, or can be read by others', async () => {
    hub.keys.clear();
    expect(failed(await preflight())).toContain('hub_accepts_key');
    await run('chmod', ['644', keyPath(dataDirectory)]);
    const result = await preflight();
    expect(result.checks.find(({ name }) => name === 'key')).toMatchObject({
      ok: false,
      detail: expect.stringContaining('chmod 600'),
    });
  });
});
