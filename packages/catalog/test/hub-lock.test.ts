import { expect, it } from '@jest/globals';
import { silentLogger as log } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { openCatalog } from '../src/index.js';
import { DURABLE, MariaDbServer, type OwnDatabase } from '../src/testing/mariadb-server.js';
import { describeOnMariaDb, mariaDb, mariaDbProgram } from './databases.js';

/** The connection that holds the hub's lock: the one that never asked for a table. */
async function lockHolder({ query }: OwnDatabase): Promise<{ name: string; id: bigint }> {
  return eventually('the lock is held', async () => {
    const rows = await query<{ name: string; id: bigint | null }>(
      "SELECT CONCAT('sendense-hub-', LEFT(SHA2(DATABASE(), 256), 32)) AS name, IS_USED_LOCK(CONCAT('sendense-hub-', LEFT(SHA2(DATABASE(), 256), 32))) AS id",
    );
    const [row] = rows;
    return row && row.id !== null ? { name: row.name, id: row.id } : undefined;
  });
}

describeOnMariaDb('a database of MariaDB', () => {
  it('has one hub at a time; commands may work beside it', async () => {
    using folder = temporaryDirectory();
    const own = await (await mariaDb()).newDatabase();
    const at = { directory: folder.path, database: own.target, log };
    const hub = await openCatalog({ ...at, asHub: true });
    await expect(openCatalog({ ...at, asHub: true })).rejects.toMatchObject({
      code: 'catalog_in_use',
      message: expect.stringMatching(/catalog_\d+.* is in use by another hub: stop that one first/),
    });
    {
      await using command = await openCatalog(at);
      await command.tokens.create({ name: 'n', role: 'viewer' });
    }
    expect(await hub.tokens.list()).toHaveLength(1);
    // Of another database: another hub.
    await using _ = await openCatalog({
      ...{ directory: folder.path, log, asHub: true },
      database: (await (await mariaDb()).newDatabase()).target,
    });
    await hub[Symbol.asyncDispose]();
    await (await openCatalog({ ...at, asHub: true }))[Symbol.asyncDispose]();
  });

  it("stays its hub's when only the connection of the lock is lost", async () => {
    using folder = temporaryDirectory();
    const own = await (await mariaDb()).newDatabase();
    const at = { directory: folder.path, database: own.target, log, asHub: true };
    await using hub = await openCatalog(at);
    const before = await lockHolder(own);
    await own.query(`KILL ${before.id}`);
    await eventually('it is held again', async () => (await lockHolder(own)).id !== before.id);
    await hub.nodes.create('n');
    await expect(openCatalog(at)).rejects.toMatchObject({ code: 'catalog_in_use' });
  });

  it("is the hub's that was quicker, and no longer the other's", async () => {
    using folder = temporaryDirectory();
    const own = await (await mariaDb()).newDatabase();
    await using hub = await openCatalog({
      ...{ directory: folder.path, database: own.target, log },
      asHub: true,
    });
    const { name, id } = await lockHolder(own);
    // Another one that waits gets it at once.
    const other = own.query(`DO GET_LOCK('${name}', 60); DO SLEEP(60)`);
    other.catch(() => {});
    const waiting = await eventually('the other one waits', async () => {
      const [row] = await own.query<{ id: bigint }>(
        "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE STATE = 'User lock'",
      );
      return row?.id;
    });
    await own.query(`KILL ${id}`);
    expect(await hub.takenOver).toMatchObject({ code: 'catalog_in_use' });
    await expect(hub.nodes.list()).rejects.toMatchObject({ code: 'catalog_in_use' });
    await own.query(`KILL ${waiting}`);
  });

  it("is the same hub's again after a server that crashed has come back", async () => {
    await using server = await MariaDbServer.start(DURABLE, mariaDbProgram());
    await server.stop();
    await server.begin();
    using folder = temporaryDirectory();
    const own = await server.newDatabase();
    const at = { directory: folder.path, database: own.target, log, asHub: true };
    await using hub = await openCatalog(at);
    await hub.nodes.create('before');
    await server.kill();
    const during = hub.nodes.create('during');
    during.catch(() => {});
    await server.begin();
    await during;
    await lockHolder(own);
    await expect(openCatalog(at)).rejects.toMatchObject({ code: 'catalog_in_use' });
    expect((await hub.nodes.list()).map(({ name }) => name)).toEqual(['before', 'during']);
  });
});
