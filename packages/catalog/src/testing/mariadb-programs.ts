// Which servers of MariaDB the tests run on.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

/** Debian's lies where the PATH of most users does not look. */
const DEBIANS = existsSync('/usr/sbin/mariadbd') ? '/usr/sbin/mariadbd' : 'mariadbd';
const TOOLS =
  process.env['SENDENSE_TOOLS_DIR'] ?? resolve(import.meta.dirname, '..', '..', '..', '..', '..', '.tools');
/** What tools/setup.sh unpacks where Debian's is older. */
const NEWER = join(TOOLS, 'mariadb-11.8', 'usr', 'sbin', 'mariadbd');

const chosen = process.env['MARIADBD']?.split(':');

/** The server for tests that run on one: Debian's, or the first that MARIADBD names. */
export const MARIADBD = chosen?.[0] ?? DEBIANS;

/** A program of the server. */
export interface MariaDbProgram {
  readonly path: string;
  /** `MariaDB 10.11` */
  readonly name: string;
}

/**
 * Those that the catalogue's tests run on: Debian's and, where that is older, the 11.8 that the set-up has unpacked;
 * MARIADBD names others, with colons between them. Also such as are not there, which is a skip or a failure.
 */
export function mariaDbPrograms(): readonly MariaDbProgram[] {
  const known = { path: DEBIANS, name: nameOf(DEBIANS) };
  const paths = chosen ?? (known.name === 'MariaDB 10.11' ? [DEBIANS, NEWER] : [DEBIANS]);
  return paths.map((path) => ({ path, name: nameOf(path) }));
}

function nameOf(path: string): string {
  try {
    const said = execFileSync(path, ['--no-defaults', '--version'], { encoding: 'utf8' });
    return `MariaDB ${/Ver (\d+\.\d+)/.exec(said)?.[1] ?? said.trim()}`;
  } catch {
    return path === NEWER ? 'MariaDB 11.8' : `MariaDB, ${path}`;
  }
}

/** The program that makes the tables of a new server, and where it finds the rest of its installation. */
export function installerOf(mariadbd: string): { command: string; args: readonly string[] } {
  if (basename(mariadbd) === mariadbd) return { command: 'mariadb-install-db', args: [] };
  const installation = dirname(dirname(mariadbd));
  return { command: join(installation, 'bin', 'mariadb-install-db'), args: [`--basedir=${installation}`] };
}
