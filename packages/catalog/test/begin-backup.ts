// A process of its own for the tests: begin-backup DIRECTORY CONTEXT REPOSITORY. Says on stderr how it went.
import { errorCode } from '@sendense/core';
import { createLogger } from '@sendense/runtime';
import { openCatalog } from '../src/index.js';
import { childDatabase } from './child-database.js';

const [directory = '', contextId = '', repositoryId = ''] = process.argv.slice(2);
await using catalog = await openCatalog({
  directory,
  database: childDatabase(),
  log: createLogger({ service: 'test', level: 'silent' }),
});
try {
  const options = { type: 'full', quiesce: false, requestedBy: 'test', disks: [] } as const;
  await catalog.backups.begin({ contextId, repositoryId, ...options });
  console.error('began');
} catch (error) {
  console.error(errorCode(error));
}
