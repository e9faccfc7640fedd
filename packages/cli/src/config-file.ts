import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { SendenseError } from '@sendense/core';
import { writeFileAtomically } from '@sendense/runtime';

export interface CliConfig {
  readonly url: string;
  readonly token?: string;
}

/** Where a setting comes from. */
export type Source = 'environment' | 'login' | 'default';

/** What the CLI works with, and where each part comes from. */
export interface ConfigInForce extends CliConfig {
  readonly urlFrom: Source;
  /** Undefined when there is no token. */
  readonly tokenFrom?: Source;
}

export const DEFAULT_URL = 'http://127.0.0.1:8082';

export function configPath(env: NodeJS.ProcessEnv): string {
  return join(env['XDG_CONFIG_HOME'] || join(env['HOME'] || homedir(), '.config'), 'sendense', 'config.json');
}

/** What `sendense login` stored, overridden by SENDENSE_URL and SENDENSE_TOKEN. @throws `invalid_config` */
export function readConfig(env: NodeJS.ProcessEnv): ConfigInForce {
  // What is not asked for cannot be wrong: an environment that says it all needs no file.
  const stored = env['SENDENSE_URL'] && env['SENDENSE_TOKEN'] ? {} : readStored(configPath(env));
  const url = env['SENDENSE_URL'] || stored.url || DEFAULT_URL;
  if (!URL.canParse(url) || !/^https?:/.test(url)) {
    throw new SendenseError('invalid_config', `the hub's address must be an http or https URL, got '${url}'`);
  }
  const urlFrom = env['SENDENSE_URL'] ? 'environment' : stored.url ? 'login' : 'default';
  const token = env['SENDENSE_TOKEN'] || stored.token;
  if (!token) return { url, urlFrom };
  return { url, urlFrom, token, tokenFrom: env['SENDENSE_TOKEN'] ? 'environment' : 'login' };
}

export async function storeConfig(env: NodeJS.ProcessEnv, config: CliConfig): Promise<string> {
  const path = configPath(env);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFileAtomically(path, `${JSON.stringify(config, undefined, 2)}\n`, 0o600);
  return path;
}

/** @throws `invalid_config` for a file that is there and cannot be used; what is in it is not shown */
function readStored(path: string): Partial<CliConfig> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return {};
    throw unusable(
      `${path} cannot be read (${message}): make it readable for you (chown, chmod 600), or set SENDENSE_URL and SENDENSE_TOKEN instead`,
      error,
    );
  }
  const again = "correct it, or remove it and run 'sendense login' again";
  let stored: unknown;
  try {
    stored = JSON.parse(text);
  } catch (error) {
    throw unusable(`${path} is not valid JSON: ${again}`, error);
  }
  if (typeof stored !== 'object' || stored === null || Array.isArray(stored))
    throw unusable(`${path} is not as 'sendense login' writes it (an object with url and token): ${again}`);
  const { url, token } = stored as Record<string, unknown>;
  for (const [name, value] of Object.entries({ url, token }))
    if (value !== undefined && typeof value !== 'string')
      throw unusable(`${path} is not as 'sendense login' writes it (${name} must be a text): ${again}`);
  return {
    ...(typeof url === 'string' ? { url } : {}),
    ...(typeof token === 'string' ? { token } : {}),
  };
}

function unusable(message: string, cause?: unknown): SendenseError {
  return new SendenseError('invalid_config', message, { cause });
}
