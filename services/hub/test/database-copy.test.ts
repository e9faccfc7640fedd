import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { MARIADBD, MariaDbServer } from '@sendense/catalog/testing';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import { HubProcess, runHub, type HubProcessOptions } from '../src/testing/hub-process.js';

async function nodesOf(hub: HubProcess, token: string): Promise<unknown> {
  const headers = { authorization: `Bearer ${token}` };
  const answer = await fetch(`${await hub.url()}/api/v1/nodes`, { headers });
  return ((await answer.json()) as { nodes: { name: string }[] }).nodes.map(({ name }) => name);
}

requires(describe, MARIADBD)('sendense-hub database copy', () => {
  it('moves a catalogue from a file to MariaDB and back, and never under a hub that runs', async () => {
    await using server = await MariaDbServer.start();
    await server.newDatabase();
    const database = `mysql://admin@localhost/catalog_1?socket=${server.socket}`;
    using folder = temporaryDirectory('sdp');
    const onFile: HubProcessOptions = { folder: folder.path };
    const onMariaDb = { ...onFile, settings: { SENDENSE_DATABASE_URL: database } };
    const file = `sqlite:${join(folder.path, 'data', 'catalog.db')}`;
    const copy = (from: string, to: string, where = onFile) =>
      runHub(['database', 'copy', '--from', from, '--to', to], where);
    const made = await runHub(['token', 'create', '--name', 'n', '--role', 'admin'], onFile);
    const token = made.lines.find((line) => line.startsWith('sdt_')) ?? '';
    {
      await using hub = await HubProcess.spawn(['run'], onFile);
      const added = await fetch(`${await hub.url()}/api/v1/nodes`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ name: 'site-1' }),
      });
      expect(added.status).toBe(201);
      expect(await copy(file, database)).toMatchObject({
        exitCode: 75,
        text: expect.stringContaining('[data_directory_in_use]'),
      });
    }
    expect(await copy(file, database)).toMatchObject({
      exitCode: 0,
      text: expect.stringMatching(/^node\t1$.*^Copied and compared/ms),
    });

    const other = join(folder.path, 'other');
    mkdirSync(join(other, 'data'), { recursive: true, mode: 0o700 });
    const otherFile = `sqlite:${join(other, 'data', 'catalog.db')}`;
    const elsewhere = { folder: other };
    {
      await using hub = await HubProcess.spawn(['run'], onMariaDb);
      expect(await nodesOf(hub, token)).toEqual(['site-1']);
      for (const refused of [
        await copy(database, otherFile, elsewhere),
        await runHub(['run'], { ...elsewhere, settings: onMariaDb.settings }),
      ])
        expect(refused).toMatchObject({
          exitCode: 75,
          text: expect.stringMatching(/is in use by another hub.*catalog_in_use/s),
        });
      expect(existsSync(join(other, 'data', 'catalog.db'))).toBe(false);
    }

    expect(await copy(database, otherFile, elsewhere)).toMatchObject({ exitCode: 0 });
    expect(await copy(database, otherFile, elsewhere)).toMatchObject({
      exitCode: 1,
      text: expect.stringMatching(/the target is not empty.*\[conflict\]/s),
    });
    cpSync(join(folder.path, 'data', 'credential.key'), join(other, 'data', 'credential.key'));
    await using hub = await HubProcess.spawn(['run'], elsewhere);
    expect(await nodesOf(hub, token)).toEqual(['site-1']);
  });
});
