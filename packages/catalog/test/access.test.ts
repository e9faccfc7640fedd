import { expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { silentLogger as log } from '@sendense/runtime';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { openCatalog, toStoredError } from '../src/index.js';
import { describeOnEach, newDatabase } from './databases.js';
import { Stage } from './stage.js';

const HOUR = 3_600_000;

/** A catalogue whose clock the test moves. */
async function withClock(folder: string) {
  const clock = { at: new Date('2026-11-21T08:00:00Z') };
  const database = (await newDatabase())?.target;
  const catalog = await openCatalog({ directory: folder, database, log, now: () => clock.at });
  return { catalog, pass: (ms: number) => (clock.at = new Date(clock.at.getTime() + ms)) };
}

describeOnEach('enrolment', () => {
  it('is for one node, once', async () => {
    await using stage = await Stage.open();
    const { nodes } = stage.catalog;
    await nodes.create('alpha');
    const { secret } = await nodes.issueEnrolmentToken('alpha', { lifetimeMs: HOUR });
    expect(await nodes.get('alpha')).toMatchObject({ state: 'pending', checks: [] });
    const results = await Promise.all(
      Array.from({ length: 5 }, (_, index) => nodes.enrol({ secret, publicKey: `ssh-ed25519 K${index}` })),
    );
    expect(results.filter((result) => result.accepted)).toEqual([{ accepted: true, nodeName: 'alpha' }]);
    expect(results.filter((result) => !result.accepted)).toEqual(
      Array.from({ length: 4 }, () => ({ accepted: false, reason: 'used', nodeName: 'alpha' })),
    );
    const winner = results.findIndex((result) => result.accepted);
    expect(await nodes.get('alpha')).toMatchObject({
      state: 'enrolled',
      publicKey: `ssh-ed25519 K${winner}`,
    });
    expect(await nodes.enrol({ secret: 'guessed', publicKey: 'k' })).toMatchObject({ reason: 'unknown' });
  });

  it('ends with its time, with a newer token, and with revocation', async () => {
    using folder = temporaryDirectory();
    const { catalog, pass } = await withClock(folder.path);
    await using _ = catalog;
    const { nodes } = catalog;
    await nodes.create('alpha');
    const issue = () => nodes.issueEnrolmentToken('alpha', { lifetimeMs: HOUR });
    const enrol = (secret: string) => nodes.enrol({ secret, publicKey: 'ssh-ed25519 A' });
    const old = await issue();
    expect(old.expiresAt).toEqual(new Date('2026-11-21T09:00:00Z'));
    pass(HOUR);
    expect(await enrol(old.secret)).toMatchObject({ accepted: false, reason: 'expired' });
    const voided = await issue();
    const current = await issue();
    expect(await enrol(voided.secret)).toMatchObject({ reason: 'used' });
    expect(await enrol(current.secret)).toMatchObject({ accepted: true });
    const pending = await issue();
    expect(await nodes.get('alpha')).toMatchObject({ state: 'enrolled', publicKey: 'ssh-ed25519 A' });
    const revoked = await nodes.revoke('alpha');
    expect(revoked).toMatchObject({ state: 'revoked', revokedAt: expect.any(Date) });
    expect(revoked).not.toHaveProperty('publicKey');
    expect(await enrol(pending.secret)).toMatchObject({ reason: 'used' });
    const last = await issue();
    expect((await nodes.get('alpha')).state).toBe('pending');
    expect(await enrol(last.secret)).toMatchObject({ accepted: true });
  });

  it('does not give one key to two nodes, and keeps the token for a better try', async () => {
    await using stage = await Stage.open();
    const { nodes } = stage.catalog;
    const enrol = async (name: string, publicKey: string, secret?: string) => {
      const token = secret ?? (await nodes.issueEnrolmentToken(name, { lifetimeMs: HOUR })).secret;
      return { token, result: await nodes.enrol({ secret: token, publicKey }) };
    };
    await nodes.create('alpha');
    await nodes.create('beta');
    await enrol('alpha', 'ssh-ed25519 A');
    const { token, result } = await enrol('beta', 'ssh-ed25519 A');
    expect(result).toEqual({ accepted: false, reason: 'key_in_use', nodeName: 'beta' });
    expect((await enrol('beta', 'ssh-ed25519 B', token)).result).toMatchObject({ accepted: true });
  });

  it('refuses bad, taken and unknown names', async () => {
    await using stage = await Stage.open();
    const { nodes } = stage.catalog;
    for (const name of ['', 'A', 'a b', '-a', 'a-', 'a+b', 'a/b', 'ä', 'x'.repeat(64), 'a\n'])
      await expect(nodes.create(name)).rejects.toMatchObject({ code: 'invalid_argument' });
    await nodes.create('x'.repeat(63));
    await nodes.create('a');
    await expect(nodes.create('a')).rejects.toMatchObject({ code: 'already_exists' });
    for (const call of [
      () => nodes.get('none'),
      () => nodes.seen('none'),
      () => nodes.revoke('none'),
      () => nodes.remove('none'),
      () => nodes.issueEnrolmentToken('none', { lifetimeMs: 1 }),
    ])
      await expect(call()).rejects.toMatchObject({ code: 'node_not_found' });
  });

  it('keeps what the node last said of itself', async () => {
    await using stage = await Stage.open();
    const { nodes } = stage.catalog;
    await nodes.create('alpha');
    const checks = [{ name: 'nbdkit', ok: false, detail: 'missing' }];
    await nodes.seen('alpha', { version: '0.1.0', commit: 'abc', checks });
    await nodes.seen('alpha');
    expect(await nodes.get('alpha')).toMatchObject({
      version: '0.1.0',
      commit: 'abc',
      checks,
      lastSeenAt: expect.any(Date),
    });
    expect((await nodes.list()).map((node) => node.name)).toEqual(['alpha']);
  });
});

describeOnEach('API tokens', () => {
  it('open with their role until they are revoked', async () => {
    using folder = temporaryDirectory();
    const { catalog, pass } = await withClock(folder.path);
    await using _ = catalog;
    const { tokens } = catalog;
    expect(await tokens.anyUsable()).toBe(false);
    const { token, record } = await tokens.create({ name: 'ci', role: 'operator' });
    expect(token).toMatch(/^sdt_[A-Za-z0-9_-]{43}$/);
    expect(record).toMatchObject({
      name: 'ci',
      role: 'operator',
      lastUsedAt: undefined,
      revokedAt: undefined,
    });
    expect(await tokens.anyUsable()).toBe(true);
    const used = await tokens.authenticate(token);
    expect(used).toMatchObject({
      id: record.id,
      role: 'operator',
      lastUsedAt: new Date('2026-11-21T08:00:00Z'),
    });
    pass(59_000);
    expect((await tokens.authenticate(token))?.lastUsedAt).toEqual(used?.lastUsedAt);
    pass(2000);
    expect((await tokens.authenticate(token))?.lastUsedAt).toEqual(new Date('2026-11-21T08:01:01Z'));
    expect((await tokens.list())[0]?.lastUsedAt).toEqual(new Date('2026-11-21T08:01:01Z'));
    for (const wrong of ['', 'sdt_', token.slice(0, -1), `${token}x`, token.toUpperCase(), record.id])
      expect(await tokens.authenticate(wrong)).toBeUndefined();
    await expect(tokens.create({ name: 'ci', role: 'viewer' })).rejects.toMatchObject({
      code: 'already_exists',
    });
    const { revokedAt } = await tokens.revoke(record.id);
    pass(1000);
    expect((await tokens.revoke(record.id)).revokedAt).toEqual(revokedAt);
    expect(await tokens.authenticate(token)).toBeUndefined();
    expect(await tokens.anyUsable()).toBe(false);
    expect((await tokens.create({ name: 'ci', role: 'viewer' })).record.role).toBe('viewer');
    expect(await tokens.list()).toHaveLength(2);
    await expect(tokens.revoke('tok-none')).rejects.toMatchObject({ code: 'not_found' });
  });
});

describeOnEach('audit events', () => {
  it('are appended, and listed newest first by what was asked for', async () => {
    await using stage = await Stage.open();
    const { audit } = stage.catalog;
    for (let index = 1; index <= 25; index++)
      await audit.append({
        action: index % 5 === 0 ? 'tunnel.refused' : 'backup.start',
        actor: `token:${index % 2}`,
        outcome: index % 5 === 0 ? 'refused' : 'ok',
        subjectType: 'backup',
        subjectId: `b${index}`,
        remoteAddress: '10.0.0.1',
        detail: { port: index, forced: true, why: `it's "${index}"\n🙂` },
      });
    const first = await audit.list({ limit: 10 });
    expect(first.items.map((event) => event.id)).toEqual([25, 24, 23, 22, 21, 20, 19, 18, 17, 16]);
    await audit.append({ action: 'x', actor: 'hub', outcome: 'failed' });
    const second = await audit.list({ limit: 10, cursor: first.nextCursor! });
    expect(second.items.map((event) => event.id)).toEqual([15, 14, 13, 12, 11, 10, 9, 8, 7, 6]);
    expect((await audit.list({ action: 'tunnel.refused' })).items).toHaveLength(5);
    expect((await audit.list({ actor: 'token:1' })).items).toHaveLength(13);
    expect((await audit.list({ subjectType: 'backup', subjectId: 'b7' })).items).toMatchObject([
      {
        id: 7,
        outcome: 'ok',
        remoteAddress: '10.0.0.1',
        detail: { port: 7, forced: true, why: `it's "7"\n🙂` },
      },
    ]);
    expect((await audit.list({ since: new Date(Date.now() + HOUR) })).items).toEqual([]);
    expect(await audit.append({ action: 'x', actor: 'hub', outcome: 'failed' })).toMatchObject({
      subjectType: undefined,
      detail: {},
    });
    expect(Object.getOwnPropertyNames(Object.getPrototypeOf(audit)).sort()).toEqual([
      'append',
      'constructor',
      'list',
    ]);
  });
});

describeOnEach('cleanups', () => {
  it('are recorded once, come due, are tried again and forgotten', async () => {
    using folder = temporaryDirectory();
    const { catalog, pass } = await withClock(folder.path);
    await using _ = catalog;
    const { cleanups } = catalog;
    const error = toStoredError(
      new SendenseError('snapshot_remove_failed', 'busy', { context: { vm: 'vm-1' } }),
    );
    const snapshot = { what: 'remove_snapshot', args: { vcenter: 'v', moref: 'snapshot-1' } };
    const added = await cleanups.add({ ...snapshot, backupId: 'backup-1', error });
    expect(added).toMatchObject({ ...snapshot, attempts: 0, lastError: error, backupId: 'backup-1' });
    const same = await cleanups.add({ what: snapshot.what, args: { moref: 'snapshot-1', vcenter: 'v' } });
    expect(same.id).toBe(added.id);
    const file = await cleanups.add({
      what: 'remove_file',
      args: { path: '/x' },
      nextTryAt: new Date('2026-11-21T09:00:00Z'),
    });
    expect((await cleanups.due()).map((due) => due.id)).toEqual([added.id]);
    const nextTryAt = new Date('2026-11-21T10:00:00Z');
    expect(await cleanups.failed(added.id, { error, nextTryAt })).toMatchObject({ attempts: 1, nextTryAt });
    expect(await cleanups.due()).toEqual([]);
    pass(3 * HOUR);
    expect((await cleanups.due()).map((due) => due.id)).toEqual([file.id, added.id]);
    expect(await cleanups.due({ limit: 1 })).toHaveLength(1);
    await cleanups.done(added.id);
    await cleanups.done(added.id);
    expect((await cleanups.list()).map((left) => left.id)).toEqual([file.id]);
    await expect(cleanups.failed(added.id, { error, nextTryAt })).rejects.toMatchObject({
      code: 'not_found',
    });
  });
});

describeOnEach('a closed catalogue', () => {
  it('lets what runs finish and refuses what comes later', async () => {
    await using stage = await Stage.open();
    const { catalog } = stage;
    const running = stage.addRepository();
    const closing = stage.close();
    await expect(running).resolves.toMatch(/^repo-/);
    await closing;
    await expect(catalog.ping()).rejects.toMatchObject({ code: 'shutting_down' });
    await catalog[Symbol.asyncDispose]();
    expect(await catalog.restoreMounts.list().catch((error: unknown) => error)).toMatchObject({
      code: 'shutting_down',
    });
    expect(await (await stage.reopen()).restoreMounts.list()).toEqual([]);
  });
});
