// A process of its own for the tests: open-catalog DIRECTORY [MIGRATIONS]
import { createLogger } from '@sendense/runtime';
import { openCatalog } from '../src/index.js';
import { childDatabase } from './child-database.js';

const [directory = '', migrationsFolder] = process.argv.slice(2);
await using catalog = await openCatalog({
  directory,
  database: childDatabase(),
  log: createLogger({ service: 'test', level: 'silent' }),
  ...(migrationsFolder === undefined ? {} : { migrationsFolder }),
});
await catalog.ping();
