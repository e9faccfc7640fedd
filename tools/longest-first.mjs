// The order in which jest starts the test files. Two run at a time: a file of minutes that is started last keeps one core
// idle to the end, and what jest knows of a fresh checkout is the size of a file, which says little.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');

/** Those of more than about 40 seconds, the longest first. */
const LONG = [
  'deploy/compose/test/compose.test.ts',
  'services/hub/test/model/model.test.ts',
  'deploy/packages/test/debian-13.test.ts',
  'services/hub/test/remove-crash.test.ts',
  'services/hub/test/whole-path-load.test.ts',
  'services/hub/test/whole-path-incremental.test.ts',
  'deploy/bench/test/quick.test.ts',
  'services/node-agent/test/incrementals.test.ts',
  'services/hub/test/stop-out-of-time.test.ts',
  'services/hub/test/secrets.test.ts',
  'services/hub/test/remove-point.test.ts',
  'services/node-agent/test/by-hand-failures.test.ts',
  'deploy/demo/test/demo.test.ts',
  'services/hub/test/verify.test.ts',
  'packages/qemu/test/rewrite-image.test.ts',
  'services/hub/test/whole-path-disks.test.ts',
  'deploy/packages/test/debian-12.test.ts',
  'services/hub/test/incremental.test.ts',
  'packages/nbd/test/verify-export.test.ts',
  'services/hub/src/program.test.ts',
  'services/hub/test/whole-path-failures.test.ts',
  'services/hub/test/load.test.ts',
];
for (const file of LONG)
  if (!existsSync(resolve(root, file)))
    throw new Error(`there is no ${file}: tools/longest-first.mjs names it among the long tests`);

/** What jest asks for the order. The others follow by size, as jest itself would have them. */
export default class LongestFirst {
  sort(tests) {
    const places = new Map(LONG.map((file, index) => [compiled(file), index]));
    const place = ({ path }) => places.get(path) ?? LONG.length;
    const size = ({ path, context }) => context.hasteFS.getSize(path) ?? 0;
    return [...tests].toSorted((a, b) => place(a) - place(b) || size(b) - size(a));
  }

  allFailedTests() {
    throw new Error('nothing is remembered of an earlier run: name the files');
  }

  cacheResults() {}
}

/** @returns where a test file is after the build */
function compiled(file) {
  return resolve(root, file.replace(/^(\w+\/[\w-]+)\/(.*)\.ts$/, '$1/dist/$2.js'));
}
