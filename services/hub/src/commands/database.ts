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
 * Copies the catalogue into an empty database, while the hub of the configured data directory does not run.
 * @throws `data_directory_in_use` when it does; what {@link copyCatalog} throws
 */
export async function copyDatabase(
  env: NodeJS.ProcessEnv,
  options: CopyOptions,
  output: Output,
): Promise<void> {
  const from = location('--from', options.from, options.fromPasswordFile);
  const to = location('--to', options.to, options.toPasswordFile);
  const directory = await ownDirectory(readConfig(env).dataDirectory, 'SENDENSE_DATA_DIR');
  using _ = lockDirectory(directory, {
    service: 'sendense-hub database copy',
    version: buildInfo.version,
  });
  const log = createLogger({ service: 'sendense-hub', level: 'warn' });
  for (const { table, rows } of await copyCatalog(from, to, log)) output.print(`${table}\t${rows}`);
  output.note(
    `Copied and compared. The passwords in it open with ${directory}/credential.key only: keep that file where the hub runs.`,
  );
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
