// The same tests on every kind of database.
import { afterAll, beforeAll, describe } from '@jest/globals';
import { requires } from '@sendense/runtime/testing';
import {
  mariaDbPrograms,
  MariaDbServer,
  type MariaDbProgram,
  type OwnDatabase,
} from '../src/testing/mariadb-server.js';

/** Where a test's catalogue is; undefined is SQLite, in the catalogue's own folder. */
export type TestDatabase = OwnDatabase | undefined;

/** The server's, while a suite runs on MariaDB. */
let current: MariaDbProgram | undefined;
const servers = new Map<string, Promise<MariaDbServer>>();

/** A database of its own, of the kind that the suite around runs on. */
export async function newDatabase(): Promise<TestDatabase> {
  return current ? (await mariaDb()).newDatabase() : undefined;
}

/** The server that the suite around runs on; one for all suites of this test file, started by the first that needs it. */
export async function mariaDb(): Promise<MariaDbServer> {
  const { mariadbd } = mariaDbProgram();
  const server = servers.get(mariadbd) ?? MariaDbServer.start([], { mariadbd });
  servers.set(mariadbd, server);
  return server;
}

/** For a server of a test's own: the version that the suite around runs on. */
export function mariaDbProgram(): { readonly mariadbd: string } {
  if (!current) throw new Error('this suite is not one of describeOnMariaDb');
  return { mariadbd: current.path };
}

/** Defines the suite for SQLite and for every version of MariaDB. */
export function describeOnEach(name: string, suite: () => void): void {
  describe(`${name} (SQLite)`, suite);
  describeOnMariaDb(name, suite);
}

/** Defines the suite for every version of MariaDB: skipped where its server is not there, which in CI is a failure. */
export function describeOnMariaDb(name: string, suite: () => void): void {
  for (const program of mariaDbPrograms())
    requires(describe, program.path)(`${name} (${program.name})`, () => {
      beforeAll(async () => {
        current = program;
        await mariaDb();
      });
      afterAll(() => {
        current = undefined;
      });
      suite();
    });
}

afterAll(async () => {
  for (const server of servers.values()) await (await server)[Symbol.asyncDispose]();
});
