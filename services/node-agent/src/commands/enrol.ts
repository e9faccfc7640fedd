import { InvalidArgumentError } from 'commander';
import { SendenseError } from '@sendense/core';
import { createLogger } from '@sendense/runtime';
import { readNodeConfig } from '../config.js';
import { enrolNode } from '../enrolment/enrol.js';
import { readSecret } from './vmware-options.js';

export interface EnrolCommandOptions {
  readonly hub: { readonly host: string; readonly port: number };
  readonly token?: string;
  readonly tokenFile?: string;
  readonly force?: boolean;
}

export async function enrolByCommand(options: EnrolCommandOptions, env: NodeJS.ProcessEnv): Promise<void> {
  const { dataDirectory, logLevel } = readNodeConfig(env);
  const token = options.token ?? (options.tokenFile === undefined ? '' : await readSecret(options.tokenFile));
  if (token.trim() === '') {
    throw new SendenseError(
      'invalid_argument',
      'no token: give --token, or --token-file (- is standard input)',
    );
  }
  const { hub, force = false } = options;
  const log = createLogger({ service: 'sendense-node', level: logLevel });
  const { nodeName } = await enrolNode({ dataDirectory, hub, token: token.trim(), force, log });
  process.stdout.write(
    `enrolled as ${nodeName} with the hub at ${hub.host}:${hub.port}\n` +
      `next: sendense-node preflight, then start sendense-node run (or its systemd unit)\n`,
  );
}

/** `HOST`, `HOST:PORT` or `[IPV6]:PORT`; the port is 443 when none is named. */
export function parseHub(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? 443 : Number(match[3]);
  if (host === undefined || port < 1 || port > 65_535) throw new InvalidArgumentError('expected HOST[:PORT]');
  return { host, port };
}
