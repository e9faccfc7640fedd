import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DURABLE, MARIADBD, MariaDbServer, type OwnDatabase } from '@sendense/catalog/testing';
import { eventually, requires } from '@sendense/runtime/testing';
import { Constellation, CONSTELLATION_TOOLS, NOTHING_LEFT } from './constellation.js';
import { FakeNode } from './stage/fake-node.js';
import type { FromProcess, SpineProcessSpec, ToProcess } from './stage/spine-process.js';
import { freePortRange, NOTHING_LEFT as SPINE_LEFT_NOTHING, Spine } from './stage/spine.js';

const MIB = 2 ** 20;
const ENTRY = fileURLToPath(new URL('./stage/spine-process.js', import.meta.url));

let server: MariaDbServer;
let database: OwnDatabase;

async function startServer(): Promise<void> {
  server = await MariaDbServer.start(DURABLE);
  // Until the first orderly stop, a new server's own files are not complete.
  await server.stop();
  await server.begin();
  database = await server.newDatabase();
}

requires(
  describe,
  MARIADBD,
  ...CONSTELLATION_TOOLS,
)('a hub whose catalogue is on MariaDB', () => {
  let all: Constellation;

  beforeAll(async () => {
    await startServer();
    all = await Constellation.start({ settings: { SENDENSE_DATABASE_URL: database.url } });
  });
  afterAll(async () => {
    await all[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  const nothingLeft = () =>
    eventually('nothing is left', async () => {
      expect(all.leftovers()).toEqual(NOTHING_LEFT);
      expect(await all.hub.hub.context.catalog.chainLocks.list()).toEqual([]);
      return true;
    });

  /** The result of a task that completed. */
  async function task(path: string, body?: unknown): Promise<unknown> {
    const { status, body: started, text } = await all.hub.post(path, body);
    if (status !== 202) throw new Error(text);
    return eventually('the task has ended', async () => {
      const { body: now } = await all.hub.get(`/api/v1/tasks/${String(started['task_id'])}`);
      if (now['state'] === 'failed') throw new Error(JSON.stringify(now['error']));
      return now['state'] === 'completed' ? now['result'] : undefined;
    });
  }

  const points = async () =>
    (await all.hub.get('/api/v1/restore-points')).body['restore_points'] as { restore_point_id: string }[];

  it('backs up in full and what changed, removes what the policy lets go, and finds all that is left', async () => {
    const vm = await all.addVm({ name: 'pgtest1', disks: [{ sizeBytes: 8 * MIB }] }, 2 * MIB);
    const full = await all.backUp('pgtest1');
    await all.lab.guestWrite(vm.moref, 2000, { offset: 4 * MIB, random: 'more', length: MIB });
    const incremental = await all.backUp('pgtest1', { backup_type: 'incremental' });
    expect([full.state, incremental.state]).toEqual(['completed', 'completed']);
    expect(incremental.disk_results).toMatchObject([{ backup_type: 'incremental' }]);
    expect(await all.compare(vm, incremental)).toEqual({ 2000: true });

    const { vms } = (await all.hub.get('/api/v1/vms')).body as { vms: { context_id: string }[] };
    const contextId = vms[0]!.context_id;
    await all.hub.call('PUT', `/api/v1/vms/${contextId}/retention`, { body: { keep_last: 1 } });
    const repository = { repository_id: all.repository.id };
    expect(await task(`/api/v1/vms/${contextId}/retention/apply`, repository)).toMatchObject({
      removed: [full.backup_id],
      failed: [],
    });
    expect(await points()).toMatchObject([{ restore_point_id: incremental.backup_id, backup_type: 'full' }]);
    expect(await all.compare(vm, incremental)).toEqual({ 2000: true });
    expect(await task(`/api/v1/repositories/${all.repository.id}/rescan`)).toMatchObject({
      ...{ points_added: [], points_missing: [], damaged: [] },
    });
    expect(await database.query('SELECT id FROM restore_points')).toEqual([{ id: incremental.backup_id }]);
    await nothingLeft();
  });

  it('goes on after the database was killed in the middle of a backup and started again', async () => {
    const vm = await all.addVm({ name: 'pgtest2', disks: [{ sizeBytes: 8 * MIB }] }, 4 * MIB);
    all.lab.setFault({ operation: 'vddk.read', vm: vm.moref, delayMs: 3_000 });
    const { body } = await all.start('pgtest2');
    const id = String(body['backup_id']);
    await eventually('it copies', async () => (await all.backup(id)).state === 'running');
    await server.kill();
    const health = await all.hub.get('/health');
    expect(health.body).toMatchObject({
      status: 'degraded',
      dependencies: { database: { status: 'degraded' } },
    });
    await server.begin();
    all.lab.clearFaults();
    const ended = await eventually(
      'it has ended',
      async () => {
        const now = await all.backup(id).catch(() => undefined);
        return now && ['completed', 'failed'].includes(now.state) ? now : undefined;
      },
      90_000,
    );
    if (ended.state === 'completed') expect(await all.compare(vm, ended)).toEqual({ 2000: true });
    else expect(ended.error).toMatchObject({ code: 'catalog_unreachable' });
    await nothingLeft();
    expect((await all.hub.get('/health')).body).toMatchObject({
      dependencies: { database: { status: 'ok' } },
    });
    const again = await all.backUp('pgtest2');
    expect(again).toMatchObject({ state: 'completed', error: null });
    expect(await all.compare(vm, again)).toEqual({ 2000: true });
    await nothingLeft();
  });
});

requires(
  describe,
  MARIADBD,
  'qemu-nbd',
  'qemu-img',
)('a hub that was killed, with its catalogue on MariaDB', () => {
  it('is refused while another one runs, and then ends what that one left', async () => {
    await startServer();
    await using _ = server;
    const folder = mkdtempSync(join(tmpdir(), 'sdk-'));
    await using node = await FakeNode.start();
    const vm = node.addVm('pgtest1', [{ key: 2000, sizeBytes: 4 * MIB }]);
    const options = { folder, ports: await freePortRange(4), databaseUrl: database.url };
    let request: ToProcess;
    {
      await using spine = await Spine.start(node, options);
      request = { start: await spine.request(await spine.protect(vm)) };
    }
    const hold = node.hold('copying');
    const spec: SpineProcessSpec = { nodeName: node.name, socketPath: node.socketPath, options };
    const hub = fork(ENTRY, [JSON.stringify(spec)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    try {
      await once(hub, 'message');
      hub.send(request);
      const [answer] = (await once(hub, 'message')) as [FromProcess];
      const id = 'started' in answer ? answer.started : JSON.stringify(answer);
      await hold.reached;
      await expect(Spine.start(node, options)).rejects.toMatchObject({ code: 'catalog_in_use' });
      hub.kill('SIGKILL');
      await once(hub, 'exit');
      void node.jobs.get(id)?.ended.then(() => hold.release());
      await using spine = await Spine.start(node, options);
      expect(await spine.end(id)).toMatchObject({ state: 'failed', error: { code: 'hub_restarted' } });
      await eventually('nothing is left', async () => {
        expect(await spine.leftovers(node)).toEqual(SPINE_LEFT_NOTHING);
        return true;
      });
    } finally {
      hub.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
