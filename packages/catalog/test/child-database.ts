// For the processes that tests start: which database, from the environment, because argv is public.
import { mariaDbTarget, type MariaDbTarget } from '../src/index.js';

const VARIABLE = 'CATALOG_TEST_URL';

export function childEnvironment(url: string | undefined): Record<string, string> {
  return url === undefined ? {} : { [VARIABLE]: url };
}

export function childDatabase(): MariaDbTarget | undefined {
  const url = process.env[VARIABLE];
  return url === undefined ? undefined : mariaDbTarget(url);
}
