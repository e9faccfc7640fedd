import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { runCommand } from '@sendense/runtime';
import { eventually, requires, requiresRoot } from '@sendense/runtime/testing';
import { hubSettings } from './config.js';
import { HubProcess, runHub } from './testing/hub-process.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sdp-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const createToken = async (role = 'admin', name = 'first') => {
  const { lines, exitCode } = await runHub(['token', 'create', '--name', name, '--role', role], { folder });
  expect(exitCode).toBe(0);
  return lines.find((line) => line.startsWith('sdt_')) ?? '';
};

describe('sendense-hub', () => {
  it('explains itself', async () => {
    const help = await runHub(['--help'], { folder });
    expect(help.exitCode).toBe(0);
    for (const name of Object.keys(hubSettings)) expect(help.text).toContain(name);
    expect((await runHub(['--version'], { folder })).text).toMatch(/^sendense-hub \d+\.\d+\.\d+ \(.+\)$/);
    const wrong = await runHub(['rnu'], { folder });
    expect([wrong.exitCode, wrong.text]).toEqual([2, expect.stringContaining('Did you mean run?')]);
    expect((await runHub(['token', 'create', '--name', 'x', '--role', 'root'], { folder })).exitCode).toBe(2);
  });

  it('refuses a wrong configuration with exit code 78 and all reasons, without a stack', async () => {
    const settings = { SENDENSE_API_LISTEN: 'here', SENDENSE_DATADIR: '/x' };
    const { exitCode, text } = await runHub(['run'], { folder, settings });
    expect(exitCode).toBe(78);
    expect(text).toContain("SENDENSE_API_LISTEN: expected HOST:PORT, got 'here'");
    expect(text).toContain('SENDENSE_DATADIR is not a setting (did you mean SENDENSE_DATA_DIR?)');
    expect(text).not.toMatch(/\bat .*\.js/);
  });

  it('runs, takes tokens that are made meanwhile, and stops in order', async () => {
    await using hub = await HubProcess.spawn(['run'], { folder });
    const url = await hub.url();
    const token = await createToken();
    const get = (bearer: string) =>
      fetch(`${url}/api/v1/repositories`, { headers: { authorization: `Bearer ${bearer}` } });
    expect((await get(token)).status).toBe(200);
    const list = await runHub(['token', 'list', '--json'], { folder });
    expect(JSON.parse(list.text)).toMatchObject([{ name: 'first', role: 'admin', revoked_at: null }]);
    expect(list.text).not.toContain(token);
    expect((await runHub(['token', 'revoke', 'first'], { folder })).exitCode).toBe(0);
    expect((await get(token)).status).toBe(401);
    expect((await runHub(['token', 'revoke', 'first'], { folder })).text).toContain('[not_found]');
    hub.kill('SIGTERM');
    expect(await hub.exited).toMatchObject({ exitCode: 0 });
    expect(hub.text).not.toContain(token);
  });

  it('says which directory it cannot make, and how to', async () => {
    const settings = { SENDENSE_RUNTIME_DIR: '/etc/passwd/x' };
    const { exitCode, text } = await runHub(['run'], { folder, settings });
    expect([exitCode, text]).toEqual([
      1,
      expect.stringMatching(/\/etc\/passwd\/x cannot be made .*install -d -m 700 .*SENDENSE_RUNTIME_DIR/),
    ]);
  });

  it('refuses to be second on a data directory or a port, naming the first', async () => {
    await using first = await HubProcess.spawn(['run'], { folder });
    const { port } = new URL(await first.url());
    const second = await runHub(['run'], { folder });
    expect([second.exitCode, second.text]).toEqual([
      75,
      expect.stringMatching(
        new RegExp(`sendense-hub .*process ${first.pid} on .*\\[data_directory_in_use\\]`),
      ),
    ]);
    const other = join(folder, 'other');
    mkdirSync(other);
    const settings = { SENDENSE_API_LISTEN: `127.0.0.1:${port}` };
    const samePort = await runHub(['run'], { folder: other, settings });
    expect(samePort.exitCode).toBe(1);
    expect(samePort.text).toMatch(
      new RegExp(`port ${port} is taken: process ${first.pid} \\(.*main\\.js run.*\\[port_in_use\\]`),
    );
    expect((await fetch(`${await first.url()}/health`)).status).toBe(200);
  });

  it('starts again after it was killed', async () => {
    await using first = await HubProcess.spawn(['run'], { folder });
    await first.url();
    first.kill('SIGKILL');
    await first.exited;
    await using second = await HubProcess.spawn(['run'], { folder });
    expect((await fetch(`${await second.url()}/health`)).status).toBe(200);
    second.kill('SIGINT');
    expect((await second.exited).exitCode).toBe(0);
  });
});

const OTHER_UID = 65_534;
const asRoot = requiresRoot(requires(describe, 'setpriv'), 'to become another user');

asRoot('sendense-hub as a user of its own', () => {
  it('reports a repository that it may not write to, and uses it once the command was run', async () => {
    chmodSync(folder, 0o755);
    const options = { folder, uid: OTHER_UID };
    await using hub = await HubProcess.spawn(['run'], options);
    const url = await hub.url();
    const asOwner = await runHub(['token', 'create', '--name', 'x', '--role', 'admin'], { folder });
    expect([asOwner.exitCode, asOwner.text]).toEqual([
      1,
      expect.stringContaining('belongs to nobody (uid 65534)'),
    ]);
    const made = await runHub(['token', 'create', '--name', 'x', '--role', 'admin'], options);
    const token = made.lines.find((line) => line.startsWith('sdt_')) ?? '';
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };

    const path = join(folder, 'backup store');
    mkdirSync(path, { mode: 0o755 });
    const add = async () => {
      const body = JSON.stringify({ name: 'store', type: 'local', path });
      const response = await fetch(`${url}/api/v1/repositories`, { method: 'POST', headers, body });
      return {
        status: response.status,
        body: (await response.json()) as Record<string, Record<string, string>>,
      };
    };
    const refused = await add();
    expect(refused.status).toBe(409);
    expect(refused.body['code']).toBe('repository_not_writable');
    expect(refused.body['detail']).toMatch(
      /backup store is not writable for the hub's user nobody \(uid 65534\): its owner is root \(uid 0\), its mode 0755\. Fix it with: chown nobody '/,
    );
    const fix = refused.body['context']!['fix']!;
    await runCommand('bash', ['-c', fix], { code: 'process_failed', what: 'the fix' });
    expect((await add()).status).toBe(201);

    // One that stops being writable is reported, and recovers without a restart.
    await runCommand('chown', ['root', path], { code: 'process_failed', what: 'taking it away' });
    const list = async () =>
      (await (await fetch(`${url}/api/v1/repositories`, { headers })).json()) as object;
    expect(await list()).toMatchObject({
      repositories: [
        {
          status: 'unavailable',
          status_code: 'repository_not_writable',
          status_reason: expect.stringContaining(fix),
        },
      ],
    });
    await runCommand('bash', ['-c', fix], { code: 'process_failed', what: 'the fix' });
    await eventually('it is available', async () => JSON.stringify(await list()).includes('"available"'));
  });
});
