// Copies packages of this workspace and what they need at run time into one node_modules folder that works anywhere:
//   node modules.mjs DIR PACKAGE…
// The files are those of the installed dependencies, so what runs elsewhere is what was built and tested here; nothing is
// resolved, fetched or compiled again.
import { cpSync, existsSync, readFileSync, readdirSync, realpathSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { FOR_COMPILING, belongs } from './belongs.mjs';

const root = resolve(import.meta.dirname, '../..');
const [target, ...wanted] = process.argv.slice(2);
if (!target || wanted.length === 0) throw new Error('usage: node modules.mjs DIR PACKAGE…');

/** Our packages by name. @type {Map<string, string>} */
const ours = new Map();
for (const top of ['packages', 'services', 'deploy']) {
  for (const folder of readdirSync(join(root, top))) {
    const path = join(root, top, folder);
    if (existsSync(join(path, 'package.json'))) ours.set(manifestOf(path).name, path);
  }
}

/** What stands where in the new tree: location (folders of node_modules, from the top) → folder it is copied from. */
const placed = new Map();
/** Breadth first: all dependencies of a package are placed before theirs, so that nothing is put in between later. */
const queue = [];
for (const name of wanted) {
  const source = ours.get(name);
  if (!source) throw new Error(`no package ${name} in this workspace`);
  place([name], source);
}
for (let next = queue.shift(); next; next = queue.shift()) placeDependencies(next);
for (const [key, source] of placed) checkDependencies(key.split(' '), source);
for (const [key, source] of placed) copy(key.split(' '), source);

function placeDependencies({ location, source }) {
  for (const [name, from] of dependenciesOf(source)) {
    const seen = visible(location, name);
    if (seen === undefined) place([name], from);
    else if (seen !== from) place([...location, name], from);
  }
}

function place(location, source) {
  placed.set(location.join(' '), source);
  queue.push({ location, source });
}

/** What Node finds under this name from a package at this location. */
function visible(location, name) {
  for (let depth = location.length; depth >= 0; depth--) {
    const found = placed.get([...location.slice(0, depth), name].join(' '));
    if (found) return found;
  }
  return undefined;
}

function checkDependencies(location, source) {
  for (const [name, from] of dependenciesOf(source)) {
    const seen = visible(location, name);
    if (seen !== from) throw new Error(`${location.join(' > ')} would find ${seen} as ${name}, not ${from}`);
  }
}

/** Name and folder of each dependency that is installed; pnpm leaves out what is for other platforms. */
function dependenciesOf(source) {
  const manifest = manifestOf(source);
  const found = [];
  for (const name of Object.keys(manifest.dependencies ?? {})) {
    if (FOR_COMPILING.has(name)) continue;
    const folder = installed(source, name);
    if (folder) found.push([name, folder]);
    else if (!manifest.optionalDependencies?.[name])
      throw new Error(`${manifest.name} needs ${name}, which is not installed`);
  }
  for (const name of Object.keys(manifest.optionalDependencies ?? {})) {
    if (FOR_COMPILING.has(name)) continue;
    const folder = installed(source, name);
    if (folder && !found.some(([other]) => other === name)) found.push([name, folder]);
  }
  return found;
}

/** Where pnpm put a dependency: in a node_modules folder beside or above the package that asks. */
function installed(source, name) {
  for (let folder = source; folder !== dirname(folder); folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name);
    if (existsSync(join(candidate, 'package.json'))) return realpathSync(candidate);
    if (folder === root) return undefined;
  }
  return undefined;
}

function copy(location, source) {
  const own = [...ours.values()].includes(source);
  const folder = join(target, location.join('/node_modules/'));
  cpSync(source, folder, {
    recursive: true,
    dereference: true,
    filter: (from) => from === source || belongs(manifestOf(source).name, from.slice(source.length + 1), own),
  });
}

function manifestOf(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
}
