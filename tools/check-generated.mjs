// What is generated is not committed; what is derived from the Prisma schema and committed (the migrations) must match it.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { execFileSync } from 'node:child_process';

const root = resolve(import.meta.dirname, '..');
const drift = resolve(root, 'packages/catalog/dist/tools/check-drift.js');
const tracked = execFileSync('git', ['ls-files', 'packages/*/src/gen', 'packages/*/dist'], {
  cwd: root,
  encoding: 'utf8',
}).trim();
if (tracked !== '') {
  console.error(`generated files are committed:\n${tracked}`);
  process.exitCode = 1;
}
if (existsSync(drift)) execFileSync(process.execPath, [drift], { cwd: root, stdio: 'inherit' });
