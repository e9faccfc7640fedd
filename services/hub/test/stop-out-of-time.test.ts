import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { DURABLE, MARIADBD, MariaDbServer } from '@sendense/catalog/testing';
import type { LabVm } from '@sendense/lab';
import { processesOwnedBy } from '@sendense/runtime';
import { eventually, requires } from '@sendense/runtime/testing';
import { filesBelow } from '@sendense/runtime/testing/secrets';
import { ownerMark } from '../src/config.js';
import { CONSTELLATION_TOOLS, type BackupBody } from './constellation.js';
import { TwoPrograms } from './stage/two-programs.js';

const MIB = 2 ** 20;
/** So short that what is slow here is always slower. */
const HURRIED = { SENDENSE_STOP_SECONDS: '2' };
/** Removing a snapshot takes longer than that, and then fails. */
const SLOW_REMOVAL = { operation: 'RemoveSnapshot_Task', fault: 'GenericVmConfigFault', delayMs: 8_000 };

let all: TwoPrograms;
let vm: LabVm;
let ids: { readonly vcenterId: string; readonly repositoryId: string };

const request = () => ({ vm_name: vm.name, repository_id: ids.repositoryId, backup_type: 'full' });
const start = async () => (await all.must<BackupBody>('backups', request())).backup_id;
const backup = (id: string) => all.must<BackupBody>(`backups/${id}`);
const hubsProcesses = () => processesOwnedBy(ownerMark(`${all.hubOptions.folder}/data`));
const nodesProcesses = () => processesOwnedBy(`node:${all.folder}/node`);
const snapshots = () => all.lab.snapshots(vm.moref).map(({ name }) => name);
/** By the state that their names tell. */
const files = () => filesBelow(all.repositoryPath).filter((path) => path !== '.sendense-repository.json');
const whole = () => files().filter((path) => !path.endsWith('.partial'));
const points = async () =>
  (await all.must<{ restore_points: { restore_point_id: string }[] }>('restore-points')).restore_points.map(
    ({ restore_point_id: id }) => id,
  );

/** A backup that copies, for as long as it likes. */
async function copying(): Promise<string> {
  all.lab.setFault({ operation: 'vddk.read', vm: vm.moref, delayMs: 30_000 });
  const id = await start();
  await eventually('it copies', async () => (await backup(id)).disk_results[0]?.status === 'copying');
  return id;
}

async function nothingIsLeft(): Promise<boolean> {
  expect([snapshots(), files(), nodesProcesses(), await points()]).toEqual([[], [], [], []]);
  expect(hubsProcesses().filter(({ command }) => command === 'qemu-nbd')).toEqual([]);
  return true;
}

/** Nothing of a backup that failed is left, and the next one is complete. */
async function worldIsRight(): Promise<void> {
  await all.nodeOnline();
  await eventually('nothing is left', nothingIsLeft, 90_000);
  const next = await all.ended(await start());
  expect(next).toMatchObject({ state: 'completed', error: null });
  expect(await all.compare(vm, next)).toEqual([true]);
}

requires(describe, ...CONSTELLATION_TOOLS)('stopping that takes longer than it may', () => {
  beforeEach(async () => {
    all = await TwoPrograms.start('lab-password-1', { hub: HURRIED, node: HURRIED });
    ids = await all.addEverything();
    vm = await all.addVm(ids.vcenterId, { name: 'pgtest1', disks: [{ sizeBytes: 8 * MIB }] });
  });
  afterEach(() => all[Symbol.asyncDispose]());

  it('ends a hub that drained in vain, and its next start fails the backup and leaves nothing of it', async () => {
    const id = await copying();
    all.hub.kill('SIGUSR2');
    await eventually('no new ones are taken', async () => {
      const { status, text } = await all.call('POST', '/api/v1/backups', request());
      if (status === 503) return text.includes('shutting_down');
      throw new Error(text);
    });
    expect((await backup(id)).state).toBe('running');
    all.lab.setFault(SLOW_REMOVAL);
    all.hub.kill('SIGTERM');
    expect(await all.hub.exited).toMatchObject({ exitCode: 1, signal: undefined });
    const said = all.hub.lines.find((line) => line.includes('SENDENSE_STOP_SECONDS (2)')) ?? '';
    expect(JSON.parse(said)).toMatchObject({ level: 'fatal', code: 'timeout', unfinished: [{ jobId: id }] });
    await eventually('its processes have ended with it', () => hubsProcesses().length === 0);
    expect(whole()).toEqual([]);

    all.lab.clearFaults();
    await all.startHub();
    expect(await all.ended(id)).toMatchObject({ state: 'failed', error: { code: 'hub_restarted' } });
    await worldIsRight();
  });

  it('ends a node that drained in vain; the hub fails the backup and removes the snapshot when it is back', async () => {
    const id = await copying();
    process.kill(all.node.pid, 'SIGUSR2');
    await eventually('it drains', () => all.written.some((line) => line.includes('no new jobs are taken')));
    all.lab.setFault(SLOW_REMOVAL);
    process.kill(all.node.pid, 'SIGTERM');
    expect(await all.node.exited).toMatchObject({ exitCode: 1, signal: undefined });
    expect(all.written.find((line) => line.includes('SENDENSE_STOP_SECONDS (2)'))).toMatch(
      new RegExp(`^sendense-node: .* ${id} .*\\[timeout\\]$`),
    );
    // What is left of its group is killed by systemd.
    for (const { pid } of nodesProcesses()) process.kill(pid, 'SIGKILL');
    expect(await all.ended(id)).toMatchObject({ state: 'failed', error: { code: 'node_lost' } });
    expect([whole(), snapshots()]).toEqual([[], [`sendense-${id}`]]);

    all.lab.clearFaults();
    await all.startNode();
    await worldIsRight();
  });
});

requires(
  describe,
  MARIADBD,
  ...CONSTELLATION_TOOLS,
)('publishing that takes longer than stopping may', () => {
  let server: MariaDbServer;

  beforeAll(async () => {
    server = await MariaDbServer.start(DURABLE);
    const { url } = await server.newDatabase();
    all = await TwoPrograms.start('lab-password-1', { hub: { ...HURRIED, SENDENSE_DATABASE_URL: url } });
    ids = await all.addEverything();
    vm = await all.addVm(ids.vcenterId, { name: 'pgtest1', disks: [{ sizeBytes: 8 * MIB }] });
  });
  afterAll(async () => {
    await all[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  it('is finished by the next start: the backup is complete', async () => {
    const sleeping = server.query('LOCK TABLES catalog_1.restore_points READ; DO SLEEP(600)');
    sleeping.catch(() => {});
    const find = async (what: string) => {
      const [row] = await server.query<{ id: bigint }>(
        `SELECT ID AS id FROM information_schema.PROCESSLIST WHERE ${what} AND ID <> CONNECTION_ID()`,
      );
      return row?.id;
    };
    const holder = await eventually('nobody can write restore points', () => find(`INFO LIKE 'DO SLEEP%'`));
    const id = await start();
    await eventually('it is published, but for the catalogue', () =>
      find(`STATE LIKE 'Waiting for table%' AND INFO LIKE '%restore_points%'`),
    );
    all.hub.kill('SIGTERM');
    expect(await all.hub.exited).toMatchObject({ exitCode: 1, signal: undefined });
    expect(all.hub.text).toContain('SENDENSE_STOP_SECONDS (2)');
    await eventually('its processes have ended with it', () => hubsProcesses().length === 0);

    await server.query(`KILL ${holder}`);
    await all.startHub();
    const ended = await all.ended(id);
    expect(ended).toMatchObject({ state: 'completed', error: null });
    expect(await points()).toEqual([id]);
    expect(await all.compare(vm, ended)).toEqual([true]);
    expect(snapshots()).toEqual([]);
  });
});
