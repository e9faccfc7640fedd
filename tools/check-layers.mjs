// The arrows between packages (docs/architecture.md): a package may depend only on those named for it here.
// pnpm makes a package see nothing but its declared dependencies, so checking the declarations checks the imports.
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const allowed = {
  core: [],
  contracts: ['core'],
  runtime: ['core'],
  nbd: ['core', 'runtime'],
  qemu: ['core', 'runtime'],
  tunnel: ['core', 'runtime'],
  vsphere: ['core', 'runtime'],
  catalog: ['core', 'runtime'],
  cli: ['core', 'runtime'],
  lab: ['core', 'runtime', 'nbd', 'qemu'],
  hub: ['contracts', 'core', 'runtime', 'nbd', 'qemu', 'tunnel', 'catalog'],
  'node-agent': ['contracts', 'core', 'runtime', 'nbd', 'qemu', 'tunnel', 'vsphere'],
};
// Outside packages that only one room may use.
const reserved = {
  '@prisma/client': 'catalog',
  'better-sqlite3': 'catalog',
  ssh2: 'tunnel',
  fastify: 'hub',
};
const problems = [];

for (const top of ['packages', 'services']) {
  for (const name of readdirSync(join(root, top))) {
    const folder = join(root, top, name);
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const may = allowed[name];
    if (!may) {
      problems.push(`${top}/${name} is not in tools/check-layers.mjs: say there what it may depend on`);
      continue;
    }
    for (const dependency of Object.keys(manifest.dependencies ?? {})) {
      const ours = dependency.startsWith('@sendense/') ? dependency.slice('@sendense/'.length) : undefined;
      if (ours && !may.includes(ours)) problems.push(`${top}/${name} must not depend on ${dependency}`);
      if (reserved[dependency] && reserved[dependency] !== name) {
        problems.push(`${top}/${name} must not depend on ${dependency}: only ${reserved[dependency]} does`);
      }
    }
    for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts') || /(^|\/)(dist|node_modules|gen)\//.test(file)) continue;
      const text = readFileSync(join(folder, file), 'utf8');
      const production =
        file.startsWith(`src${sep}`) && !file.endsWith('.test.ts') && !/(^|\/)testing(\.ts|\/)/.test(file);
      for (const [, specifier] of text.matchAll(/(?:from|import\()\s*'([^']+)'/g)) {
        if (specifier.startsWith('.')) {
          const target = resolve(folder, file, '..', specifier);
          if (relative(folder, target).startsWith('..'))
            problems.push(`${top}/${name}/${file} reaches out of its package: ${specifier}`);
        } else if (specifier.startsWith('@sendense/') && production) {
          const ours = specifier.split('/')[1];
          if (!may.includes(ours)) problems.push(`${top}/${name}/${file} must not import ${specifier}`);
          if (specifier.includes('/testing'))
            problems.push(`${top}/${name}/${file} imports test support in production code`);
        }
      }
    }
  }
}
for (const problem of problems) console.error(problem);
process.exit(problems.length > 0 ? 1 : 0);
