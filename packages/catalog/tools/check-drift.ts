// Fails with the difference when the committed migrations do not lead to the Prisma schema.
import { schemaDifference } from './schema-engine.js';

const { summary, differs } = await schemaDifference();
if (differs) {
  console.error(
    `the catalogue's migrations and its Prisma schema differ; write a migration with\n` +
      `  node packages/catalog/dist/tools/create-migration.js NAME\n${summary}`,
  );
  process.exitCode = 1;
}
