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

export const DEFAULT_URL = 'http://127.0.0.1:8082';

export function configPath(env: NodeJS.ProcessEnv): string {
  return join(env['XDG_CONFIG_HOME'] || join(env['HOME'] || homedir(), '.config'), 'sendense', 'config.json');
}

/** What `sendense login` stored, overridden by SENDENSE_URL and SENDENSE_TOKEN. @throws `invalid_config` */
export function readConfig(env: NodeJS.ProcessEnv): CliConfig {
  const stored = readStored(configPath(env));
  const url = env['SENDENSE_URL'] || stored.url || DEFAULT_URL;
  if (!URL.canParse(url) || !/^https?:/.test(url)) {
    throw new SendenseError('invalid_config', `the hub's address must be an http or https URL, got '${url}'`);
  }
  const token = env['SENDENSE_TOKEN'] || stored.token;
  return token === undefined ? { url } : { url, token };
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
