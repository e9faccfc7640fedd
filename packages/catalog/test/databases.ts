// The same tests on every kind of database.
import { afterAll, beforeAll, describe } from '@jest/globals';
import { requires } from '@sendense/runtime/testing';
import { MARIADBD, MariaDbServer, type OwnDatabase } from '../src/testing/mariadb-server.js';

/** Where a test's catalogue is; undefined is SQLite, in the catalogue's own folder. */
export type TestDatabase = OwnDatabase | undefined;

let onMariaDb = false;
let server: Promise<MariaDbServer> | undefined;

/** A database of its own, of the kind that the suite around runs on. */
export async function newDatabase(): Promise<TestDatabase> {
  return onMariaDb ? (await mariaDb()).newDatabase() : undefined;
}

/** The one server of this test file, started by the first that needs it. */
export async function mariaDb(): Promise<MariaDbServer> {
  server ??= MariaDbServer.start();
  return server;
}

/** Defines the suite for SQLite, and for MariaDB where a server can be started: skipped elsewhere, a failure in CI. */
export function describeOnEach(name: string, suite: () => void): void {
  describe(`${name} (SQLite)`, suite);
  describeOnMariaDb(`${name} (MariaDB)`, suite);
}

export function describeOnMariaDb(name: string, suite: () => void): void {
  requires(describe, MARIADBD)(name, () => {
    beforeAll(async () => {
      onMariaDb = true;
      await mariaDb();
    });
    afterAll(() => {
      onMariaDb = false;
    });
    suite();
  });
}

afterAll(async () => {
  await (await server)?.[Symbol.asyncDispose]();
});
