// A process of its own for the tests: acquire-lock DIRECTORY MODE HOLDER. Says on stderr whether it got the lock.
import { createLogger } from '@sendense/runtime';
import { openCatalog } from '../src/index.js';
import { childDatabase } from './child-database.js';

const [directory = '', mode = '', holderId = ''] = process.argv.slice(2);
await using catalog = await openCatalog({
  directory,
  database: childDatabase(),
  log: createLogger({ service: 'test', level: 'silent' }),
});
const lock = await catalog.chainLocks.acquire({
  contextId: 'ctx',
  repositoryId: 'repo',
  mode: mode === 'shared' ? 'shared' : 'exclusive',
  purpose: 'test',
  holderId,
});
console.error(lock ? 'got' : 'refused');
