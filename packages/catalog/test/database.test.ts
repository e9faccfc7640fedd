import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { silentLogger as log } from '@sendense/runtime';
import { temporaryDirectory } from '@sendense/runtime/testing';
import type { Database, Transaction } from '../src/database.js';
import { MIGRATIONS_FOLDER, readMigrations } from '../src/migrate.js';
import { openSqlite } from '../src/sqlite.js';

async function open(folder: string): Promise<Database> {
  const migrations = await readMigrations(MIGRATIONS_FOLDER);
  return openSqlite(join(folder, 'catalog.db'), { log, migrations, now: () => new Date() });
}

const note = (client: Transaction, action: string) =>
  client.auditEvent.create({
    data: { at: new Date(), action, actor: 'test', outcome: 'ok', detail: '{}' },
  });

const notes = (database: Database) =>
  database.run(async (client) => (await client.auditEvent.findMany()).map((event) => event.action));

describe('the database', () => {
  it('runs a transaction again when another process wrote after it had read', async () => {
    using folder = temporaryDirectory();
    await using ours = await open(folder.path);
    await using other = await open(folder.path);
    let attempts = 0;
    await ours.transaction(async (transaction) => {
      attempts++;
      await transaction.auditEvent.count();
      if (attempts === 1) await other.run((client) => note(client, 'other'));
      await note(transaction, 'ours');
    });
    expect(attempts).toBe(2);
    expect(await notes(ours)).toEqual(['other', 'ours']);
  });

  it('takes back all of a transaction that fails, and nothing of what else was asked meanwhile', async () => {
    using folder = temporaryDirectory();
    await using database = await open(folder.path);
    const failing = database.transaction(async (transaction) => {
      await note(transaction, 'lost');
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
      throw new Error('no');
    });
    const kept = database.run((client) => note(client, 'kept'));
    await expect(failing).rejects.toThrow('no');
    await kept;
    expect(await notes(database)).toEqual(['kept']);
  });

  it('says that no space is left, and goes on when there is', async () => {
    using folder = temporaryDirectory();
    await using database = await open(folder.path);
    const limit = (pages: number) =>
      database.run((client) => client.$queryRawUnsafe(`PRAGMA max_page_count = ${pages}`));
    await limit(1);
    const long = () => database.transaction((transaction) => note(transaction, 'x'.repeat(100_000)));
    await expect(long()).rejects.toMatchObject({
      code: 'out_of_space',
      message: expect.stringContaining(folder.path),
    });
    await limit(1_000_000);
    await long();
    expect(await notes(database)).toHaveLength(1);
  });
});
