import { chmodSync, chownSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import fc from 'fast-check';
import { seal, unseal } from '../src/credential-cipher.js';
import { CredentialKeys } from '../src/credential-keys.js';
import { requiresRoot, temporaryDirectory } from '@sendense/runtime/testing';
import { describeOnEach } from './databases.js';
import { Stage } from './stage.js';

const keyPath = (stage: Stage) => join(stage.directory, 'credential.key');
const keyIds = (stage: Stage) => readFileSync(keyPath(stage), 'utf8').match(/^[0-9a-f]{8}(?= )/gm) ?? [];

const changeRow = (stage: Stage, sql: string) => stage.execute(sql);

describeOnEach('stored passwords', () => {
  it('come back as they were, after a restart too', async () => {
    await using stage = await Stage.open();
    const passwords = ['simple', `a b"c'd;--`, 'päss🙂wörd', ' lead', 'x'.repeat(5000)];
    for (const [index, password] of passwords.entries()) await stage.addVcenter(`vc ${index}`, password);
    const catalog = await stage.reopen();
    const ids = (await catalog.vcenters.list()).map((vcenter) => vcenter.id);
    const read = await Promise.all(ids.map((id) => catalog.vcenters.connection(id)));
    expect(read.map((connection) => connection.password)).toEqual(passwords);
    expect(JSON.stringify(await catalog.vcenters.list())).not.toContain('simple');
  });

  it('cannot be read in any file of the catalogue, nor can tokens', async () => {
    await using stage = await Stage.open();
    const { catalog } = stage;
    const id = await stage.addVcenter('vc', 'planted-password-1');
    await catalog.vcenters.update(id, { password: 'planted-password-2' });
    await catalog.vcenters.rotateKey();
    const { token } = await catalog.tokens.create({ name: 'admin', role: 'admin' });
    const { secret } = await catalog.nodes.issueEnrolmentToken('node-1', { lifetimeMs: 1000 });
    const grep = () => {
      const files = stage.dataDirectories.flatMap((folder) =>
        readdirSync(folder, { recursive: true, withFileTypes: true })
          .filter((entry) => entry.isFile())
          .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1')),
      );
      return ['planted-password', token, token.slice(4), secret].filter((planted) =>
        files.some(
          (text) => text.includes(planted) || text.includes(Buffer.from(planted).toString('base64')),
        ),
      );
    };
    if (!stage.database) expect(readdirSync(stage.directory)).toContain('catalog.db-wal');
    expect(grep()).toEqual([]);
    await stage.close();
    expect(grep()).toEqual([]);
  });

  it('do not open in another row, with another text or another key', async () => {
    using folder = temporaryDirectory();
    const keys = await CredentialKeys.open(join(folder.path, 'key'), 0);
    const sealed = seal(keys, 'vcenter-a', 'secret');
    expect(await unseal(keys, 'vcenter-a', sealed)).toBe('secret');
    expect(seal(keys, 'vcenter-a', 'secret')).not.toBe(sealed);
    const failure = { code: 'credentials_unreadable' };
    await expect(unseal(keys, 'vcenter-b', sealed)).rejects.toMatchObject(failure);
    const others = await CredentialKeys.open(join(folder.path, 'other'), 0);
    await expect(unseal(others, 'vcenter-a', sealed)).rejects.toMatchObject(failure);
    await fc.assert(
      fc.asyncProperty(
        fc.nat(sealed.length - 1),
        fc.constantFrom('A', 'z', '0', '.', '-', ''),
        async (at, change) => {
          const changed = sealed.slice(0, at) + change + sealed.slice(at + 1);
          // The last character of a base64url part has bits that mean nothing.
          const same = (text: string) =>
            text
              .split('.')
              .slice(2)
              .map((part) => Buffer.from(part, 'base64url').toString('hex'))
              .join();
          fc.pre(changed !== sealed && same(changed) !== same(sealed));
          await expect(unseal(keys, 'vcenter-a', changed)).rejects.toMatchObject(failure);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('that were moved between rows of the database are refused', async () => {
    await using stage = await Stage.open();
    const a = await stage.addVcenter('a', 'secret-a');
    const b = await stage.addVcenter('b', 'secret-b');
    await changeRow(
      stage,
      `UPDATE vmware_credentials SET password_sealed = (SELECT password_sealed FROM vmware_credentials WHERE id = '${a}')`,
    );
    expect((await stage.catalog.vcenters.connection(a)).password).toBe('secret-a');
    await expect(stage.catalog.vcenters.connection(b)).rejects.toMatchObject({
      code: 'credentials_unreadable',
    });
    await stage.catalog.vcenters.update(b, { password: 'again' });
    expect((await stage.catalog.vcenters.connection(b)).password).toBe('again');
  });

  it('a context without credentials is a clear error', async () => {
    await using stage = await Stage.open();
    const { vm, repositoryId } = await stage.addVm();
    const { catalog } = stage;
    expect(await catalog.vcenters.connectionOf(vm.contextId)).toMatchObject({
      password: 'secret',
      nodeName: 'node-1',
    });
    await catalog.vcenters.remove(vm.vcenterId!);
    expect(await catalog.vms.get(vm.contextId)).toMatchObject({ vcenterId: undefined, nodeName: undefined });
    const failure = { code: 'credentials_missing', message: expect.stringContaining('pgtest1') };
    await expect(catalog.vcenters.connectionOf(vm.contextId)).rejects.toMatchObject(failure);
    await expect(stage.begin(vm, repositoryId)).rejects.toMatchObject(failure);
    await expect(catalog.vcenters.connectionOf('ctx-none')).rejects.toMatchObject({
      code: 'vm_not_protected',
    });
  });
});

describeOnEach('the key file', () => {
  it('is made at the first start and kept', async () => {
    await using stage = await Stage.open();
    const text = readFileSync(keyPath(stage), 'utf8');
    expect(statSync(keyPath(stage)).mode & 0o777).toBe(0o600);
    expect(Buffer.from(/ (\S+=)$/m.exec(text)![1]!, 'base64')).toHaveLength(32);
    await stage.reopen();
    expect(readFileSync(keyPath(stage), 'utf8')).toBe(text);
    expect(readdirSync(stage.directory).filter((name) => name.endsWith('.partial'))).toEqual([]);
  });

  it.each([0o640, 0o604, 0o660, 0o602])('is refused with mode %o, naming the command', async (mode) => {
    await using stage = await Stage.open();
    await stage.close();
    chmodSync(keyPath(stage), mode);
    await expect(stage.reopen()).rejects.toMatchObject({
      code: 'credentials_unreadable',
      message: expect.stringContaining(`chmod 600 '${keyPath(stage)}'`),
    });
    chmodSync(keyPath(stage), 0o600);
    await stage.reopen();
  });

  requiresRoot(it, 'to give a file away')('is refused when it belongs to another user', async () => {
    await using stage = await Stage.open();
    await stage.close();
    chownSync(keyPath(stage), 12_345, 12_345);
    await expect(stage.reopen()).rejects.toMatchObject({
      code: 'credentials_unreadable',
      message: expect.stringMatching(/user 12345.*chown 0 /),
    });
  });

  it('is refused when it is missing while passwords need it; an empty one accepts the loss', async () => {
    await using stage = await Stage.open();
    const id = await stage.addVcenter();
    await stage.close();
    const copy = readFileSync(keyPath(stage));
    rmSync(keyPath(stage));
    await expect(stage.reopen()).rejects.toMatchObject({
      code: 'credentials_unreadable',
      message: expect.stringMatching(/1 stored passwords need it: put it back.*install -m 600 \/dev\/null/),
    });
    writeFileSync(keyPath(stage), copy, { mode: 0o600 });
    expect((await (await stage.reopen()).vcenters.connection(id)).password).toBe('secret');
    writeFileSync(keyPath(stage), '');
    const catalog = await stage.reopen();
    await expect(catalog.vcenters.connection(id)).rejects.toMatchObject({
      code: 'credentials_unreadable',
      message: expect.stringContaining('enter the password again'),
    });
    await catalog.vcenters.update(id, { password: 'new' });
    expect((await catalog.vcenters.connection(id)).password).toBe('new');
  });

  it('is refused when it is not one', async () => {
    await using stage = await Stage.open();
    await stage.close();
    writeFileSync(keyPath(stage), 'garbage\n');
    await expect(stage.reopen()).rejects.toMatchObject({ code: 'credentials_unreadable' });
  });

  it('rotates: the newest key encrypts, all decrypt', async () => {
    await using stage = await Stage.open();
    const ids = [await stage.addVcenter('a', 'secret-a'), await stage.addVcenter('b', 'secret-b')];
    const [first] = keyIds(stage);
    expect(await stage.catalog.vcenters.rotateKey()).toBe(2);
    expect(keyIds(stage)).toEqual([first, expect.not.stringMatching(first!)]);
    const read = async () =>
      Promise.all(ids.map(async (id) => (await stage.catalog.vcenters.connection(id)).password));
    expect(await read()).toEqual(['secret-a', 'secret-b']);
    await stage.close();
    // Every password is with the new key now.
    const lines = readFileSync(keyPath(stage), 'utf8').split('\n');
    writeFileSync(keyPath(stage), lines.filter((line) => !line.startsWith(first!)).join('\n'));
    await stage.reopen();
    expect(await read()).toEqual(['secret-a', 'secret-b']);
  });

  it('may be rotated by another process while this one runs', async () => {
    await using stage = await Stage.open();
    const id = await stage.addVcenter();
    await using other = await (
      await import('../src/index.js')
    ).openCatalog({
      directory: stage.directory,
      log: (await import('@sendense/runtime')).silentLogger,
    });
    await other.vcenters.rotateKey();
    expect((await stage.catalog.vcenters.connection(id)).password).toBe('secret');
  });
});
