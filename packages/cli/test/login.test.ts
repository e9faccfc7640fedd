import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { ApiClient } from '../src/client.js';
import { FakeHub } from './fake-hub.js';

const TOKEN = 'sdt_a-secret-of-the-tests';
const OTHER = 'sdt_another-secret';
const CHECK = 'GET /api/v1/repositories';

/** A user's home with a token in a file. */
function home() {
  const folder = temporaryDirectory('cli');
  const tokenFile = join(folder.path, 'token');
  writeFileSync(tokenFile, `${TOKEN}\n`);
  return {
    env: { XDG_CONFIG_HOME: folder.path },
    config: join(folder.path, 'sendense', 'config.json'),
    login: (url: string) => ['login', '--url', url, '--token-file', tokenFile],
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

describe('login', () => {
  it('stores address and token for this user alone, once the hub has taken the token', async () => {
    await using hub = await FakeHub.start();
    using user = home();
    hub.answers(CHECK, { body: { repositories: [] } });
    const { exitCode, out } = await hub.run(user.login(hub.url), { env: user.env });
    expect(exitCode).toBe(0);
    expect(hub.asked).toEqual([{ what: CHECK, body: undefined, authorization: `Bearer ${TOKEN}` }]);
    expect(statSync(user.config).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(user.config, 'utf8'))).toEqual({ url: hub.url, token: TOKEN });
    expect(out).toBe(`Logged in to ${hub.url}; stored in ${user.config}.`);
  });

  it('finds a hub behind a path of its proxy', async () => {
    await using hub = await FakeHub.start();
    using user = home();
    hub.answers('GET /sendense/api/v1/repositories', { body: { repositories: [] } });
    const { exitCode } = await hub.run(user.login(`${hub.url}/sendense`), { env: user.env });
    expect(exitCode).toBe(0);
    expect(JSON.parse(readFileSync(user.config, 'utf8'))).toMatchObject({ url: `${hub.url}/sendense` });
  });

  it('stores nothing when the hub refuses the token', async () => {
    await using hub = await FakeHub.start();
    using user = home();
    hub.answers(CHECK, { status: 401, body: { code: 'unauthenticated', detail: 'the token is not known' } });
    const { exitCode, out, err } = await hub.run(user.login(hub.url), { env: user.env });
    expect(exitCode).toBe(4);
    expect(err).toMatch(/^sendense: the token is not known\. .* \[unauthenticated\]$/);
    expect(`${out}${err}`).not.toContain(TOKEN);
    expect(existsSync(user.config)).toBe(false);
  });

  it('is refused without a token when there is no terminal to ask on', async () => {
    await using hub = await FakeHub.start();
    using user = home();
    const { exitCode, err } = await hub.run(['login', '--url', hub.url], { env: user.env });
    expect(exitCode).toBe(2);
    expect(err).toContain('give --token-file');
    expect(hub.asked).toEqual([]);
  });
});

describe('the address of the hub', () => {
  it('is that of the environment where login is given none', async () => {
    await using hub = await FakeHub.start();
    using user = home();
    hub.answers(CHECK, { body: { repositories: [] } });
    const args = user.login(hub.url).filter((arg) => arg !== '--url' && arg !== hub.url);
    const { exitCode } = await hub.run(args, { env: { ...user.env, SENDENSE_URL: hub.url } });
    expect(exitCode).toBe(0);
    expect(JSON.parse(readFileSync(user.config, 'utf8'))).toMatchObject({ url: hub.url });
  });

  it.each(['', '/', '/sendense', '/sendense/', '/a/b'])('keeps a path of its own: "%s"', async (path) => {
    await using hub = await FakeHub.start();
    const prefix = path.replace(/\/$/, '');
    hub.answers(`GET ${prefix}/api/v1/tasks/a%2Fb`, {
      status: 404,
      body: { code: 'not_found', detail: 'so' },
    });
    hub.answers(`GET ${prefix}/api/v1/tasks?limit=50`, { body: { tasks: [] } });
    const api = new ApiClient(`${hub.url}${path}`, undefined);
    expect(await api.get('/api/v1/tasks', { limit: 50 })).toEqual({ tasks: [] });
    await expect(api.get('/api/v1/tasks/a%2Fb')).rejects.toMatchObject({ message: 'so' });
  });

  it.each(['hub.example:8082', 'ftp://hub.example', 'http://', 'http:// /'])(
    'is not %s, which login says before it asks anybody',
    async (url) => {
      await using hub = await FakeHub.start();
      using user = home();
      const { exitCode, err } = await hub.run(user.login(url), { env: user.env });
      expect(exitCode).toBe(2);
      expect(err).toContain('not the address of a hub');
      expect(existsSync(user.config)).toBe(false);
    },
  );
});

describe('config', () => {
  it('shows the default hub and no token before the first login', async () => {
    await using hub = await FakeHub.start();
    using user = home();
    const { exitCode, out } = await hub.run(['config'], { env: user.env });
    expect(exitCode).toBe(0);
    expect(out.split('\n').map((line) => line.split('\t'))).toEqual([
      ['SETTING', 'VALUE', 'FROM'],
      ['config file', user.config, '-'],
      ['hub', 'http://127.0.0.1:8082', 'the default'],
      ['token', 'not set', '-'],
    ]);
    expect(hub.asked).toEqual([]);
  });

  it('shows what login stored, and that the environment wins over it', async () => {
    await using hub = await FakeHub.start();
    using user = home();
    hub.answers(CHECK, { body: { repositories: [] } });
    await hub.run(user.login(hub.url), { env: user.env });
    const stored = await hub.run(['config', '--json'], { env: user.env });
    expect(JSON.parse(stored.out)).toEqual({
      ...{ config: user.config, url: hub.url, url_from: 'login' },
      ...{ token_set: true, token_from: 'login' },
    });
    const env = { ...user.env, SENDENSE_URL: 'http://other.example:1', SENDENSE_TOKEN: OTHER };
    const overridden = await hub.run(['config', '--json'], { env });
    expect(JSON.parse(overridden.out)).toEqual({
      ...{ config: user.config, url: 'http://other.example:1', url_from: 'environment' },
      ...{ token_set: true, token_from: 'environment' },
    });
  });

  it.each([
    ['on a terminal', [], true],
    ['piped', [], false],
    ['in JSON', ['--json'], false],
  ])('never prints a token: %s', async (_where, more, tty) => {
    await using hub = await FakeHub.start();
    using user = home();
    hub.answers(CHECK, { body: { repositories: [] } });
    await hub.run(user.login(hub.url), { env: user.env });
    for (const env of [user.env, { ...user.env, SENDENSE_TOKEN: OTHER }]) {
      const { exitCode, out, err, drawn } = await hub.run(['config', ...more], { env, tty });
      expect(exitCode).toBe(0);
      const said = [out, err, ...drawn].join('\n');
      expect(said).toContain(hub.url);
      expect(said).not.toContain(TOKEN);
      expect(said).not.toContain(OTHER);
    }
  });

  it.each([
    ['not JSON', `token = ${TOKEN}`, 'is not valid JSON'],
    ['a list', `["${TOKEN}"]`, 'an object with url and token'],
    ['a text', `"${TOKEN}"`, 'an object with url and token'],
    ['nothing at all', 'null', 'an object with url and token'],
    ['a token that is none', `{"url":"http://h","token":["${TOKEN}"]}`, 'token must be a text'],
    ['a url that is none', `{"url":8082,"token":"${TOKEN}"}`, 'url must be a text'],
  ])('refuses a file that is %s without showing what is in it', async (_what, content, words) => {
    await using hub = await FakeHub.start();
    using user = home();
    mkdirSync(dirname(user.config));
    writeFileSync(user.config, content);
    const { exitCode, out, err } = await hub.run(['config'], { env: user.env });
    expect(exitCode).toBe(2);
    expect(err).toMatch(
      /^sendense: .*: correct it, or remove it and run 'sendense login' again \[invalid_config\]$/,
    );
    expect(err).toContain(user.config);
    expect(err).toContain(words);
    expect(`${out}${err}`).not.toContain(TOKEN);
    // Nobody who says it all in the environment needs the file.
    const env = { ...user.env, SENDENSE_URL: hub.url, SENDENSE_TOKEN: OTHER };
    expect((await hub.run(['config'], { env })).exitCode).toBe(0);
  });

  it('refuses a file that cannot be read, which is not the same as none', async () => {
    await using hub = await FakeHub.start();
    using user = home();
    mkdirSync(user.config, { recursive: true });
    const { exitCode, err } = await hub.run(['config'], { env: user.env });
    expect(exitCode).toBe(2);
    expect(err).toMatch(
      / cannot be read \(EISDIR.*\): make it readable for you .*, or set SENDENSE_URL and SENDENSE_TOKEN/,
    );
    expect(err).toContain(user.config);
  });
});
