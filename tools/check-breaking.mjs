// The contracts against proto/baseline.binpb, which is what they were when somebody accepted them: a change that breaks is
// seen however many commits ago it was made, and in a shallow clone too. docs/architecture.md says how one is made.
//
// usage: check-breaking.mjs [--accept [--break]] [FOLDER]
//   --accept   writes the contracts as they are into the baseline; refuses what breaks
//   --break    accepts that as well
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const root = resolve(import.meta.dirname, '..');
const { values: asked, positionals } = parseArgs({
  options: { accept: { type: 'boolean' }, break: { type: 'boolean' } },
  allowPositionals: true,
});
const folder = resolve(positionals[0] ?? join(root, 'proto'));
const baseline = join(folder, 'baseline.binpb');

/** @returns whether buf was content; it has said why not */
function buf(...args) {
  try {
    execFileSync(join(root, 'node_modules/.bin/buf'), args, { cwd: folder, stdio: ['ignore', 1, 2] });
    return true;
  } catch {
    return false;
  }
}

/** The contracts as a descriptor, without comments and positions: those may change. */
function compiled() {
  const work = mkdtempSync(join(tmpdir(), 'sendense-proto-'));
  try {
    const path = join(work, 'now.binpb');
    return buf('build', '--exclude-source-info', '-o', path) ? readFileSync(path) : undefined;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** @returns why the check fails */
function problem() {
  const now = compiled();
  if (!now) return 'the contracts do not compile: see above';
  if (!existsSync(baseline) && !asked.accept)
    return `there is nothing to compare with: ${baseline} is missing; take it back from git, or accept the contracts as they are with ./dev accept-contracts`;
  const same = existsSync(baseline) && readFileSync(baseline).equals(now);
  if (same) return undefined;
  if (existsSync(baseline) && !asked.break && !buf('breaking', '--against', baseline))
    return 'this breaks hubs and nodes of another version: make it compatible, or accept the break with ./dev accept-contracts --break';
  if (!asked.accept)
    return 'the contracts have grown, and nothing breaks: take that into the baseline with ./dev accept-contracts, and commit it';
  writeFileSync(baseline, now);
  console.log(`accepted: commit ${baseline}`);
  return undefined;
}

const why = problem();
if (why) {
  console.error(why);
  process.exitCode = 1;
}
