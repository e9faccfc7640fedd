import { cpSync, mkdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DURABLE, MARIADBD, MariaDbServer, type OwnDatabase } from '@sendense/catalog/testing';
import { processesOwnedBy } from '@sendense/runtime';
import { eventually, requires } from '@sendense/runtime/testing';
import { ownerMark } from '../src/config.js';
import { HubProcess } from '../src/testing/hub-process.js';
import { CONSTELLATION_TOOLS, type BackupBody } from './constellation.js';
import { freePortRange } from './stage/spine.js';
import { TwoPrograms } from './stage/two-programs.js';

const MIB = 2 ** 20;

requires(
  describe,
  MARIADBD,
  ...CONSTELLATION_TOOLS,
)('a hub whose catalogue on MariaDB another hub takes over', () => {
  let server: MariaDbServer;
  let database: OwnDatabase;
  let all: TwoPrograms;

  beforeAll(async () => {
    server = await MariaDbServer.start(DURABLE);
    database = await server.newDatabase();
    all = await TwoPrograms.start('lab-password-1', { hub: { SENDENSE_DATABASE_URL: database.url } });
  });
  afterAll(async () => {
    await all[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  /** Another machine's, with the keys of the first, as its administrator has restored them. */
  async function standBy(): Promise<{ hub: HubProcess; tunnelPort: number }> {
    const folder = join(all.folder, 'second');
    mkdirSync(join(folder, 'data'), { recursive: true, mode: 0o700 });
    for (const key of ['credential.key', 'tunnel_host_ed25519'])
      cpSync(join(all.hubOptions.folder, 'data', key), join(folder, 'data', key));
    const { first, last } = await freePortRange(9);
    const settings = {
      ...all.hubOptions.settings,
      SENDENSE_TUNNEL_LISTEN: `127.0.0.1:${first}`,
      SENDENSE_NBD_PORTS: `${first + 1}-${last}`,
    };
    return { hub: await HubProcess.spawn(['run'], { folder, settings }), tunnelPort: first };
  }

  /** The connection whose life is the lock's. */
  async function lockHolder(): Promise<bigint> {
    const [row] = await database.query<{ id: bigint }>(
      "SELECT IS_USED_LOCK(CONCAT('sendense-hub-', LEFT(SHA2(DATABASE(), 256), 32))) AS id",
    );
    return row!.id;
  }

  it('stops, says why, exits with 75 and leaves no process; the other one goes on where it was', async () => {
    const { vcenterId, repositoryId } = await all.addEverything();
    const vm = await all.addVm(vcenterId, { name: 'pgtest1', disks: [{ sizeBytes: 8 * MIB }] });
    const request = { vm_name: vm.name, repository_id: repositoryId, backup_type: 'full' };
    all.lab.setFault({ operation: 'vddk.read', vm: vm.moref, delayMs: 30_000 });
    const { backup_id: id } = await all.must<BackupBody>('backups', request);
    await eventually(
      'it copies',
      async () => (await all.must<BackupBody>(`backups/${id}`)).disk_results[0]?.status === 'copying',
    );
    const owner = ownerMark(join(realpathSync(all.hubOptions.folder), 'data'));
    const programs = () => processesOwnedBy(owner).map(({ command }) => command);
    expect(programs()).toContain('qemu-nbd');

    const { hub: second, tunnelPort } = await standBy();
    await using _second = second;
    await eventually('the other one waits for the lock', async () => {
      const waiting = await database.query(
        "SELECT 1 FROM information_schema.PROCESSLIST WHERE STATE = 'User lock'",
      );
      return waiting.length > 0;
    });
    await database.query(`KILL ${await lockHolder()}`);

    const { hub: first } = all;
    expect(await first.exited).toMatchObject({ exitCode: 75, signal: undefined });
    const said = first.lines.find((line) => line.includes('another hub has the catalogue now')) ?? '';
    expect(JSON.parse(said)).toMatchObject({
      level: 'fatal',
      code: 'catalog_in_use',
      error: expect.stringMatching(/catalog_1.* is in use by another hub/),
    });
    await eventually('its processes have ended', () => programs().length === 0);
    await expect(all.must('nodes')).rejects.toThrow('fetch failed');

    all.lab.clearFaults();
    await all.useHub(second, tunnelPort);
    expect(await all.ended(id)).toMatchObject({ state: 'failed', error: { code: 'hub_restarted' } });
    await all.killNode();
    const { enrolment_token: token = '' } = await all.must<Record<string, string>>('nodes/site-1/token', {});
    await all.enrolNode(token, '--force');
    await all.startNode();
    const next = await all.ended((await all.must<BackupBody>('backups', request)).backup_id);
    expect(next).toMatchObject({ state: 'completed', error: null });
    expect(await all.compare(vm, next)).toEqual([true]);
    await eventually('no snapshot is left', () => all.lab.snapshots(vm.moref).length === 0);
  });
});
