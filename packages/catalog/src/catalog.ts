import type { Logger } from '@sendense/runtime';
import type { Audit } from './audit.js';
import type { Backups } from './backups.js';
import type { Cleanups } from './cleanups.js';
import type { Nodes } from './nodes.js';
import type { Repositories } from './repositories.js';
import type { RestoreMounts } from './restore-mounts.js';
import type { RestorePoints } from './restore-points.js';
import type { Tokens } from './tokens.js';
import type { Vcenters } from './vcenters.js';
import type { Vms } from './vms.js';

export interface CatalogOptions {
  /** The hub's data directory: holds `catalog.db` and `credential.key`. */
  readonly directory: string;
  readonly log: Logger;
  /** @default () => new Date() */
  readonly now?: () => Date;
}

export interface Catalog extends AsyncDisposable {
  readonly repositories: Repositories;
  readonly nodes: Nodes;
  readonly vcenters: Vcenters;
  readonly vms: Vms;
  readonly backups: Backups;
  readonly restorePoints: RestorePoints;
  readonly restoreMounts: RestoreMounts;
  readonly audit: Audit;
  readonly tokens: Tokens;
  readonly cleanups: Cleanups;
  /** Name of the newest migration that is applied. */
  readonly schemaVersion: string;
  /** For `/health`: reads from the database. @throws when it cannot */
  ping(): Promise<void>;
}

/**
 * Opens the catalogue and brings its schema up to date. A second process (the hub's own commands) may open it meanwhile.
 * @throws `catalog_schema_newer`, `catalog_damaged`, `credentials_unreadable`, `permission_denied`
 */
export async function openCatalog(_options: CatalogOptions): Promise<Catalog> {
  throw new Error('not built yet');
}
