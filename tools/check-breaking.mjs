// Breaking changes of the contracts against the last commit that shipped them: the newest tag, or the main branch's
// parent where there is no tag yet. A change that breaks on purpose is committed with "BREAKING CONTRACT:" in its body.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const run = (command, args, options = {}) =>
  execFileSync(command, args, { cwd: root, encoding: 'utf8', ...options });

function baseline() {
  const tags = run('git', ['tag', '--list', 'v*', '--sort=-version:refname'])
    .trim()
    .split('\n')
    .filter(Boolean);
  if (tags[0]) return tags[0];
  // No release yet: compare with the commit before the newest, so that a change is seen once, when it is made.
  try {
    return run('git', ['rev-parse', '--verify', '--quiet', 'HEAD~1']).trim();
  } catch {
    return undefined;
  }
}

const against = baseline();
if (!against || run('git', ['ls-tree', '-r', '--name-only', against, 'proto']).trim() === '') {
  console.log('  nothing to compare with yet');
  process.exit(0);
}
if (run('git', ['log', '--format=%B', `${against}..HEAD`]).includes('BREAKING CONTRACT:')) {
  console.log(`  a breaking change since ${against} is declared in its commit`);
  process.exit(0);
}
const work = mkdtempSync(join(tmpdir(), 'sendense-proto-'));
try {
  const archive = execFileSync('git', ['archive', against, 'proto'], { cwd: root, maxBuffer: 64 << 20 });
  execFileSync('tar', ['-x', '-C', work], { input: archive });
  run('pnpm', ['exec', 'buf', 'breaking', '--against', join(work, 'proto')], {
    cwd: join(root, 'proto'),
    stdio: 'inherit',
  });
} catch {
  process.exitCode = 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}
