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
  const stored = readStored(configPath(env));
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

function readStored(path: string): Partial<CliConfig> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return {};
  }
  try {
    const { url, token } = JSON.parse(text) as Record<string, unknown>;
    return {
      ...(typeof url === 'string' ? { url } : {}),
      ...(typeof token === 'string' ? { token } : {}),
    };
  } catch (error) {
    throw new SendenseError(
      'invalid_config',
      `${path} is not valid JSON: correct it, or run 'sendense login' again`,
      { cause: error },
    );
  }
}
