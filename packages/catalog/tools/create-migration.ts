// Writes the migration that leads from the present ones to the Prisma schema:
//   node packages/catalog/dist/tools/create-migration.js NAME
// Read what it wrote before committing it: a renamed column is a dropped and an added one to the engine.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { migrationsFolder, schemaDifference } from './schema-engine.js';

const name = process.argv[2] ?? '';
if (!/^[a-z][a-z0-9_]{2,60}$/.test(name)) {
  console.error(
    'usage: create-migration NAME   (lower case letters, digits and _, such as add_restore_mounts)',
  );
  process.exit(2);
}
const { script, differs } = await schemaDifference();
if (!differs) {
  console.log('the migrations already lead to the schema: nothing to write');
} else {
  const stamp = new Date().toISOString().replace(/\D/g, '').slice(0, 14);
  const folder = join(migrationsFolder, `${stamp}_${name}`);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'migration.sql'), script);
  console.log(`wrote ${join(folder, 'migration.sql')}`);
}
