import { readFileSync } from 'node:fs';
import { SendenseError } from '@sendense/core';

/** How one `SENDENSE_*` variable becomes a value. */
export interface Setting<T> {
  /** One line for `--help` and the documentation. */
  readonly description: string;
  /** Shown in help; undefined when there is none. */
  readonly defaultText?: string;
  /** @param raw undefined when the variable is not set or empty. @throws Error whose message says what is expected */
  readonly parse: (raw: string | undefined) => T;
}

export type SettingsOf<S extends Record<string, Setting<unknown>>> = {
  readonly [K in keyof S]: ReturnType<S[K]['parse']>;
};

export interface SettingsSource {
  readonly env: NodeJS.ProcessEnv;
  /** A file of `KEY=value` lines (as systemd's EnvironmentFile); the environment wins over it. */
  readonly file?: string;
  /** `SENDENSE_*` names that belong to other programs and are no mistake here. */
  readonly ignore?: readonly string[];
}

/**
 * Reads every setting, once. An unknown `SENDENSE_*` name or an invalid value stops the start, and all problems are
 * reported together.
 *
 * @throws `invalid_config`
 */
export function readSettings<S extends Record<string, Setting<unknown>>>(
  settings: S,
  source: SettingsSource,
): SettingsOf<S> {
  const fromFile = source.file === undefined ? {} : readEnvironmentFile(source.file);
  const all: NodeJS.ProcessEnv = { ...fromFile, ...source.env };
  const problems: string[] = [];
  for (const name of Object.keys(all)) {
    if (!name.startsWith('SENDENSE_') || Object.hasOwn(settings, name) || source.ignore?.includes(name))
      continue;
    problems.push(`${name} is not a setting${suggestion(name, Object.keys(settings))}`);
  }
  const values: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(settings)) {
    const raw = all[name];
    try {
      values[name] = setting.parse(raw === '' ? undefined : raw);
    } catch (error) {
      problems.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (problems.length > 0) {
    throw new SendenseError('invalid_config', `the configuration is not valid:\n  ${problems.join('\n  ')}`);
  }
  return values as SettingsOf<S>;
}

function readEnvironmentFile(path: string): Record<string, string> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new SendenseError(
      'invalid_config',
      `the configuration file ${path} cannot be read: ${(error as Error).message}`,
    );
  }
  const values: Record<string, string> = {};
  for (const [index, line] of text.split('\n').entries()) {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#') || trimmed.startsWith(';')) continue;
    const match = /^([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)$/.exec(trimmed);
    if (!match?.[1])
      throw new SendenseError('invalid_config', `${path}, line ${index + 1}: expected KEY=value`);
    values[match[1]] = (match[2] ?? '').replace(/^(["'])(.*)\1$/, '$2');
  }
  return values;
}

function suggestion(name: string, known: readonly string[]): string {
  const close = known.find((candidate) => distance(candidate, name) <= 3);
  return close ? ` (did you mean ${close}?)` : '';
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(
        Math.min(
          (row[j] ?? 0) + 1,
          (next[j - 1] ?? 0) + 1,
          (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
        ),
      );
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

export const text = (description: string, fallback: string): Setting<string> => ({
  description,
  defaultText: fallback,
  parse: (raw) => raw ?? fallback,
});

export const optionalText = (description: string): Setting<string | undefined> => ({
  description,
  parse: (raw) => raw,
});

export const integer = (
  description: string,
  fallback: number,
  min: number,
  max: number,
): Setting<number> => ({
  description,
  defaultText: String(fallback),
  parse: (raw) => {
    if (raw === undefined) return fallback;
    const value = Number(raw);
    if (!/^\d+$/.test(raw) || value < min || value > max)
      throw new Error(`expected a whole number from ${min} to ${max}, got '${raw}'`);
    return value;
  },
});

export const choice = <T extends string>(
  description: string,
  fallback: T,
  values: readonly T[],
): Setting<T> => ({
  description,
  defaultText: fallback,
  parse: (raw) => {
    const value = values.find((candidate) => candidate === (raw ?? fallback));
    if (value === undefined) throw new Error(`expected one of ${values.join(', ')}, got '${raw}'`);
    return value;
  },
});

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export const portRange = (description: string, fallback: PortRange): Setting<PortRange> => ({
  description,
  defaultText: `${fallback.first}-${fallback.last}`,
  parse: (raw) => {
    if (raw === undefined) return fallback;
    const match = /^(\d+)-(\d+)$/.exec(raw);
    const [first, last] = [Number(match?.[1]), Number(match?.[2])];
    if (!match || first < 1 || last > 65_535 || first > last)
      throw new Error(`expected FIRST-LAST (two ports), got '${raw}'`);
    return { first, last };
  },
});

export interface Listen {
  readonly host: string;
  readonly port: number;
}

export const listenAddress = (description: string, fallback: Listen): Setting<Listen> => ({
  description,
  defaultText: `${fallback.host}:${fallback.port}`,
  parse: (raw) => {
    if (raw === undefined) return fallback;
    const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d+)$/.exec(raw);
    const port = Number(match?.[3]);
    if (!match || port > 65_535) throw new Error(`expected HOST:PORT, got '${raw}'`);
    return { host: match[1] ?? match[2] ?? '', port };
  },
});
