import { existsSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import { catalogLocation, copyCatalog, type CatalogLocation } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import { buildInfo, createLogger, lockDirectory } from '@sendense/runtime';
import { readConfig } from '../config.js';
import { ownDirectory } from '../directories.js';
import type { Output } from './tokens.js';

export interface CopyOptions {
  /** `sqlite:/path/catalog.db` or `mysql://user@host:port/database`. */
  readonly from: string;
  readonly to: string;
  readonly fromPasswordFile?: string;
  readonly toPasswordFile?: string;
}

/**
 * Copies the catalogue into an empty database, while no hub runs on either, nor that of the configured data directory.
 * @throws `data_directory_in_use`, `catalog_in_use` when one does; what {@link copyCatalog} throws
 */
export async function copyDatabase(
  env: NodeJS.ProcessEnv,
  options: CopyOptions,
  output: Output,
): Promise<void> {
  const from = location('--from', options.from, options.fromPasswordFile);
  const to = location('--to', options.to, options.toPasswordFile);
  const directory = await ownDirectory(readConfig(env).dataDirectory, 'SENDENSE_DATA_DIR');
  using locks = new DisposableStack();
  const holder = { service: 'sendense-hub database copy', version: buildInfo.version };
  for (const one of new Set([directory, ...directoriesOf(from, to)])) locks.use(lockDirectory(one, holder));
  const log = createLogger({ service: 'sendense-hub', level: 'warn' });
  for (const { table, rows } of await copyCatalog(from, to, log)) output.print(`${table}\t${rows}`);
  output.note(
    `Copied and compared. The passwords in it open with ${directory}/credential.key only: keep that file where the hub runs.`,
  );
}

/** Where files lie that exist, or shall: another hub may have its data there. */
function directoriesOf(...locations: readonly CatalogLocation[]): string[] {
  return locations.flatMap((location) => {
    const folder = 'file' in location ? dirname(location.file) : '';
    return folder !== '' && existsSync(folder) ? [realpathSync(folder)] : [];
  });
}

/** A password in a command line can be read by everybody on this machine. */
function location(option: string, url: string, passwordFile: string | undefined): CatalogLocation {
  if (URL.canParse(url) && new URL(url).password !== '')
    throw new SendenseError(
      'invalid_argument',
      `the URL of ${option} holds a password, and command lines are public: put it into a file and name that with ${option}-password-file`,
    );
  return catalogLocation(url, passwordFile);
}
