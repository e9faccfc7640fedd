// Jest runs the compiled tests: what is tested is what runs, worker threads and child processes included.
import { readdirSync } from 'node:fs';

const rooms = ['packages', 'services', 'deploy'].flatMap((top) =>
  readdirSync(new URL(top, import.meta.url), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => `<rootDir>/${top}/${entry.name}`),
);

export default {
  roots: rooms,
  testMatch: ['**/dist/**/*.test.js'],
  modulePathIgnorePatterns: ['<rootDir>/.*/dist/.*/package.json'],
  testEnvironment: 'node',
  transform: {},
  testTimeout: 180_000,
  testSequencer: '<rootDir>/tools/longest-first.mjs',
  maxWorkers: 2,
  // Modules that a test file has loaded are never given back (nodejs/node#59118), and collecting garbage among
  // gigabytes of them takes longer and longer: a worker starts anew before that.
  workerIdleMemoryLimit: '700MB',
};
