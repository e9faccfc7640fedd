// Which files of a package are needed at run time.

/** Folders at the top of a package that only its developers need; deeper down such a name may be code. */
const DEVELOPERS = /^(test|tests|__tests__|examples?|benchmarks?|bench|docs|\.github|\.vscode|node_modules)$/;
const DEVELOPERS_FILES = /(\.(map|ts|mts|cts|flow|tsbuildinfo|gyp|gypi|md|markdown)|\.test\.js|\.spec\.js)$/i;
const LICENCES = /^(licen[cs]e|notice|copying)/i;

/** Of our own packages, the compiled source and what it reads beside it. */
const OURS = [
  /^package\.json$/,
  /^dist$/,
  /^dist\/build\.json$/,
  /^dist\/src(\/|$)/,
  /^migrations(\/|$)/,
  /^src$/,
  /^src\/gen$/,
  /^src\/gen\/descriptors\.binpb$/,
  /^native$/,
  /^native\/build(\/|$)/,
];
const OUR_TEST_SUPPORT = /(^|\/)testing(\.js)?(\/|$)/;

/** What is large and not needed, package by package. */
const NOT_NEEDED = {
  // Compilers of queries for other databases, and the same as CommonJS; the generated clients import these two.
  '@prisma/client': (path) =>
    (path.startsWith('runtime/query_compiler_') &&
      !/^runtime\/query_compiler_fast_bg\.(sqlite|mysql)\.(wasm-base64\.)?mjs$/.test(path)) ||
    /^(generator-build|runtime\/wasm-compiler-edge|scripts)/.test(path),
  // SQLite's source, and add-ons for other platforms.
  'better-sqlite3': (path) =>
    /^(deps|src)(\/|$)/.test(path) || (/^prebuilds\/./.test(path) && path !== 'prebuilds/linux-x64.node'),
  // What compiling its add-on left.
  ssh2: (path) => /^(lib\/protocol\/crypto\/(src|build\/(?!Release($|\/sshcrypto\.node$)))|util)/.test(path),
};

/** Dependencies that only compiling needs, and an option of ssh2 that is not compiled here. */
export const FOR_COMPILING = new Set(['cpu-features', 'nan', 'node-addon-api']);

/**
 * @param {string} name the package
 * @param {string} path of a file or folder in it, relative
 * @param {boolean} own whether it is of this workspace
 */
export function belongs(name, path, own) {
  const base = path.slice(path.lastIndexOf('/') + 1);
  if (LICENCES.test(base)) return true;
  if (DEVELOPERS_FILES.test(base)) return false;
  if (own) return OURS.some((pattern) => pattern.test(path)) && !OUR_TEST_SUPPORT.test(path);
  return !DEVELOPERS.test(path) && !(NOT_NEEDED[name]?.(path) ?? false);
}
