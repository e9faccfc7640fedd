import { readFileSync } from 'node:fs';

export interface BuildInfo {
  readonly version: string;
  /** The commit it was built from, or `unknown`. */
  readonly commit: string;
}

/** What `--version` and `/health` name: the workspace's version, and the commit that the build wrote beside this file. */
export const buildInfo: BuildInfo = readBuildInfo();

function readBuildInfo(): BuildInfo {
  const read = (path: string): Record<string, unknown> => {
    try {
      return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as Record<string, unknown>;
    } catch {
      return {};
    }
  };
  const text = (value: unknown) => (typeof value === 'string' ? value : undefined);
  return {
    version: text(read('../../package.json')['version']) ?? '0.0.0',
    commit: text(read('../build.json')['commit']) ?? 'unknown',
  };
}

/** `sendense-hub 0.1.0 (1a2b3c4)` */
export function versionLine(program: string): string {
  return `${program} ${buildInfo.version} (${buildInfo.commit})`;
}
