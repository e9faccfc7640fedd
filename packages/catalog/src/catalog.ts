import { join } from 'node:path';
import type { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import { Audit } from './audit.js';
import { Backups } from './backups.js';
import { ChainLocks } from './chain-locks.js';
import { Cleanups } from './cleanups.js';
import { CredentialKeys } from './credential-keys.js';
import { HubLock } from './hub-lock.js';
import { openMariaDb } from './mariadb.js';
import type { MariaDbTarget } from './mariadb-target.js';
import { MARIADB_MIGRATIONS_FOLDER, MIGRATIONS_FOLDER, readMigrations } from './migrate.js';
import { Nodes } from './nodes.js';
import { Repositories } from './repositories.js';
import { RestoreMounts } from './restore-mounts.js';
import { RestorePoints } from './restore-points.js';
import { Retention } from './retention.js';
import { openSqlite } from './sqlite.js';
import { Tasks } from './tasks.js';
import { Tokens } from './tokens.js';
import { Vcenters } from './vcenters.js';
import { Vms } from './vms.js';

export interface CatalogOptions {
  /** The hub's data directory: holds `credential.key`, and `catalog.db` unless there is a `database`. */
  readonly directory: string;
  /** MariaDB instead of SQLite. */
  readonly database?: MariaDbTarget | undefined;
  /**
   * This process is the hub, of which a database of MariaDB has one at a time. (A file has one because the data directory is
   * locked.) Commands that only need to read or to add a token leave it out.
   * @default false
   */
  readonly asHub?: boolean;
  readonly log: Logger;
  /** @default () => new Date() */
  readonly now?: () => Date;
  /** Where the migrations lie. @default those of this build */
  readonly migrationsFolder?: string;
}

export interface Catalog extends AsyncDisposable {
  readonly repositories: Repositories;
  readonly nodes: Nodes;
  readonly vcenters: Vcenters;
  readonly vms: Vms;
  readonly backups: Backups;
  readonly restorePoints: RestorePoints;
  readonly restoreMounts: RestoreMounts;
  readonly chainLocks: ChainLocks;
  readonly retention: Retention;
  readonly tasks: Tasks;
  readonly audit: Audit;
  readonly tokens: Tokens;
  readonly cleanups: Cleanups;
  /** Name of the newest migration that is applied. */
  readonly schemaVersion: string;
  /** Settles when another hub has taken the database over, which this one cannot use any more; else never. */
  readonly takenOver: Promise<SendenseError>;
  /** For `/health`: reads from the database. @throws when it cannot */
  ping(): Promise<void>;
}

/**
 * Opens the catalogue and brings its schema up to date. A second process (the hub's own commands) may open it meanwhile.
 * @throws `catalog_in_use`, `catalog_schema_newer`, `catalog_damaged`, `catalog_unreachable`, `credentials_unreadable`, `permission_denied`, `out_of_space`
 */
export async function openCatalog(options: CatalogOptions): Promise<Catalog> {
  const { directory, database: target, log, now = () => new Date() } = options;
  const folder = options.migrationsFolder ?? (target ? MARIADB_MIGRATIONS_FOLDER : MIGRATIONS_FOLDER);
  const how = { log, now, migrations: await readMigrations(folder) };
  await using owned = new AsyncDisposableStack();
  const lock = target && options.asHub ? owned.use(await HubLock.acquire(target, log)) : undefined;
  const mayUse = lock && (() => lock.held());
  const database = owned.use(
    await (target ? openMariaDb(target, { ...how, mayUse }) : openSqlite(join(directory, 'catalog.db'), how)),
  );
  const inUse = await database.run((client) => client.vmwareCredential.count());
  const keys = await CredentialKeys.open(join(directory, 'credential.key'), inUse);
  const all = owned.move();
  return {
    repositories: new Repositories(database),
    nodes: new Nodes(database),
    vcenters: new Vcenters(database, keys),
    vms: new Vms(database),
    backups: new Backups(database),
    restorePoints: new RestorePoints(database),
    restoreMounts: new RestoreMounts(database),
    chainLocks: new ChainLocks(database),
    retention: new Retention(database),
    tasks: new Tasks(database),
    audit: new Audit(database),
    tokens: new Tokens(database),
    cleanups: new Cleanups(database),
    schemaVersion: database.schemaVersion,
    takenOver: lock?.takenOver ?? new Promise(() => {}),
    ping: async () => {
      await database.run((client) => client.repository.findFirst({ select: { id: true } }));
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}
