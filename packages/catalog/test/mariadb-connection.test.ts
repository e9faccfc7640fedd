import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { silentLogger as log } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { mariaDbTarget, openCatalog } from '../src/index.js';
import type { Database, Transaction } from '../src/database.js';
import { openMariaDb } from '../src/mariadb.js';
import { MARIADB_MIGRATIONS_FOLDER, readMigrations } from '../src/migrate.js';
import { describeOnMariaDb, mariaDb, mariaDbProgram } from './databases.js';
import { DURABLE, MariaDbServer, type OwnDatabase } from '../src/testing/mariadb-server.js';
import { Stage } from './stage.js';

async function open({ target }: OwnDatabase): Promise<Database> {
  const migrations = await readMigrations(MARIADB_MIGRATIONS_FOLDER);
  return openMariaDb(target, { log, migrations, now: () => new Date() });
}

const note = (client: Transaction, action: string) =>
  client.auditEvent.create({
    data: { at: new Date(), action, actor: 'test', outcome: 'ok', detail: '{}' },
  });

const notes = (database: Database) =>
  database.run(async (client) =>
    (await client.auditEvent.findMany({ orderBy: { id: 'asc' } })).map((event) => event.action),
  );

/** Breaks the connections of the catalogue. @returns how many there were */
async function breakConnections(database: OwnDatabase): Promise<number> {
  const others = `SELECT ID AS id FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()`;
  const rows = await database.query<{ id: bigint }>(others);
  for (const { id } of rows) await database.query(`KILL ${id}`);
  await eventually('they are gone', async () => {
    const left = await database.query<{ id: bigint }>(others);
    return rows.every(({ id }) => left.every((row) => row.id !== id));
  });
  return rows.length;
}

describeOnMariaDb('a connection to MariaDB', () => {
  it('runs a transaction again that the server took back after a deadlock', async () => {
    const own = await (await mariaDb()).newDatabase();
    await using ours = await open(own);
    await using other = await open(own);
    let attempts = 0;
    let both: () => void = () => {};
    const bothHaveRead = new Promise<void>((resolve) => (both = resolve));
    const readAndWrite = (database: Database, action: string) =>
      database.transaction(async (transaction) => {
        await transaction.auditEvent.count();
        if (++attempts === 2) both();
        await bothHaveRead;
        await note(transaction, action);
      });
    await Promise.all([readAndWrite(ours, 'ours'), readAndWrite(other, 'other')]);
    expect(attempts).toBe(3);
    expect((await notes(ours)).sort()).toEqual(['other', 'ours']);
  });

  it('runs a transaction again whose connection broke, and not when that was at the commit', async () => {
    const own = await (await mariaDb()).newDatabase();
    await using database = await open(own);
    let attempts = 0;
    await database.transaction(async (transaction) => {
      await note(transaction, 'first');
      if (++attempts === 1) await breakConnections(own);
      await note(transaction, 'second');
    });
    expect(attempts).toBe(2);
    expect(await notes(database)).toEqual(['first', 'second']);
    const cut = database.transaction(async (transaction) => {
      attempts++;
      await note(transaction, 'third');
      await breakConnections(own);
    });
    await expect(cut).rejects.toMatchObject({ code: 'catalog_unreachable', retryable: false });
    expect(attempts).toBe(3);
    expect(await notes(database)).toEqual(['first', 'second']);
  });

  it('is replaced when it broke while nothing was asked, and under a query that only reads', async () => {
    const own = await (await mariaDb()).newDatabase();
    await using database = await open(own);
    await database.run((client) => note(client, 'first'));
    expect(await breakConnections(own)).toBe(1);
    await database.run((client) => note(client, 'second'));
    const holding = own.query('LOCK TABLES audit_events WRITE; DO SLEEP(60); UNLOCK TABLES');
    holding.catch(() => {});
    const waiting = `SELECT ID AS id FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND STATE LIKE `;
    const holder = await eventually('the table is locked', async () =>
      own.query(`${waiting} 'User sleep'`).then((rows) => rows[0]),
    );
    const read = notes(database);
    const reader = await eventually('the query waits', async () =>
      own.query(`${waiting} 'Waiting for table%'`).then((rows) => rows[0]),
    );
    await own.query(`KILL ${String(reader['id'])}; KILL ${String(holder['id'])}`);
    expect(await read).toEqual(['first', 'second']);
  });

  it('waits for a server that is started again after a crash, and has lost nothing', async () => {
    await using server = await MariaDbServer.start(DURABLE, mariaDbProgram());
    // Until the first orderly stop, a new server's own files are not complete.
    await server.stop();
    await server.begin();
    using folder = temporaryDirectory();
    const { target } = await server.newDatabase();
    await using catalog = await openCatalog({ directory: folder.path, database: target, log });
    await catalog.nodes.create('before');
    await server.kill();
    // A command while it is away: handled already, should the server not come back.
    const during = catalog.nodes.create('during');
    during.catch(() => {});
    await server.begin();
    await during;
    expect((await catalog.nodes.list()).map(({ name }) => name)).toEqual(['before', 'during']);
    await server.kill();
    await expect(openCatalog({ directory: folder.path, database: target, log })).rejects.toMatchObject({
      code: 'catalog_unreachable',
      retryable: true,
    });
  });

  it('keeps times in UTC whatever the zone of the server, and says which text is too long', async () => {
    await using stage = await Stage.open();
    const { database } = stage;
    const { createdAt } = await stage.catalog.nodes.create('n');
    expect((await stage.catalog.nodes.get('n')).createdAt).toEqual(createdAt);
    expect(
      await database!.query('SELECT @@time_zone AS zone, CAST(created_at AS CHAR) AS at FROM nodes'),
    ).toEqual([{ zone: '-07:00', at: createdAt.toISOString().replace('T', ' ').replace('Z', '') }]);
    await using raw = await open(database!);
    await expect(raw.run((client) => note(client, 'x'.repeat(513)))).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('action'),
    });
  });
});

describeOnMariaDb('a server with accounts', () => {
  it('is entered with the right password, over TLS that is checked, and no error shows the password', async () => {
    const port = await freePort();
    const tls = (folder: string, name: string) => join(folder, `${name}.pem`);
    await using server = await MariaDbServer.startWithAccounts((folder) => {
      certificates(folder);
      return [
        `--port=${port}`,
        '--require-secure-transport',
        `--ssl-cert=${tls(folder, 'server')}`,
        `--ssl-key=${tls(folder, 'server-key')}`,
      ];
    }, mariaDbProgram());
    const { folder } = server;
    let host = 'localhost';
    await server.query(`CREATE DATABASE secure; CREATE USER 'hub'@'%' IDENTIFIED BY 'planted%pass'; GRANT ALL ON secure.* TO 'hub'@'%';
      CREATE USER 'other'@'%' IDENTIFIED BY 'planted%pass'`);
    const attempt = async (
      credentials: string,
      parameters: string,
      database = 'secure',
      passwordFile?: string,
    ) => {
      const target = mariaDbTarget(
        `mysql://${credentials}@${host}:${port}/${database}${parameters}`,
        passwordFile,
      );
      expect(JSON.stringify(target) + target.label).not.toContain('planted');
      using data = temporaryDirectory();
      await using catalog = await openCatalog({ directory: data.path, database: target, log });
      await catalog.ping();
      return 'open';
    };
    const refused = async (expected: object, ...args: Parameters<typeof attempt>) => {
      const error: unknown = await attempt(...args).catch((error: unknown) => error);
      expect(error).toMatchObject(expected);
      for (let at = error; at instanceof Error; at = at.cause)
        expect(`${at.message} ${at.stack}`).not.toContain('planted');
    };
    const ca = `?ssl-ca=${tls(folder, 'ca')}`;
    expect(await attempt('hub:planted%25pass', ca)).toBe('open');
    writeFileSync(join(folder, 'password'), 'planted%pass\n');
    expect(await attempt('hub', ca, 'secure', join(folder, 'password'))).toBe('open');
    expect(await attempt('hub:planted%25pass', '?ssl-verify=off')).toBe('open');
    {
      using data = temporaryDirectory();
      const target = mariaDbTarget(`mysql://hub:planted%25pass@localhost:${port}/secure${ca}`);
      const hub = { directory: data.path, database: target, log, asHub: true };
      await using _ = await openCatalog(hub);
      await expect(openCatalog(hub)).rejects.toMatchObject({
        code: 'catalog_in_use',
        message: expect.stringMatching(/another hub \(connected from (localhost|127\.0\.0\.1):\d+\)/),
      });
    }
    await refused({ code: 'permission_denied' }, 'hub:planted-wrong', ca);
    await refused({ code: 'permission_denied' }, 'other:planted%25pass', ca);
    // Also by a server from 11.4 on, which proves with the password that the certificate is its own.
    const notProven = { code: 'catalog_unreachable', message: expect.stringContaining('certificate') };
    await refused(notProven, 'hub:planted%25pass', `?ssl-ca=${tls(folder, 'another-ca')}`);
    await refused(notProven, 'hub:planted%25pass', '?ssl=on');
    host = '127.0.0.1';
    await refused(notProven, 'hub:planted%25pass', ca);
    expect(await attempt('hub:planted%25pass', '?ssl-verify=off')).toBe('open');
    host = 'localhost';
    // The number of this error depends on the server's version.
    const noTls = { code: expect.stringMatching(/^(permission_denied|catalog_unreachable)$/) };
    await refused(noTls, 'hub:planted%25pass', '');
  });
});

function certificates(folder: string): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  for (const ca of ['ca', 'another-ca'])
    openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      `/CN=${ca}`,
      '-keyout',
      `${ca}-key.pem`,
      '-out',
      `${ca}.pem`,
    );
  openssl(
    'req',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-subj',
    '/CN=localhost',
    '-keyout',
    'server-key.pem',
    '-out',
    'server.csr',
  );
  writeFileSync(join(folder, 'names'), 'subjectAltName=DNS:localhost');
  openssl(
    'x509',
    '-req',
    '-in',
    'server.csr',
    '-CA',
    'ca.pem',
    '-CAkey',
    'ca-key.pem',
    '-CAcreateserial',
    '-extfile',
    'names',
    '-out',
    'server.pem',
  );
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
