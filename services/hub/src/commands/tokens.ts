import { openCatalog, type ApiRole, type ApiTokenRecord, type Catalog } from '@sendense/catalog';
import { printable, SendenseError } from '@sendense/core';
import { createLogger } from '@sendense/runtime';
import { readConfig } from '../config.js';
import { ownDirectory } from '../directories.js';
import { ownUser } from '../repositories/users.js';

/** Where the commands write: answers to stdout, what is meant for people to stderr. */
export interface Output {
  readonly print: (line: string) => void;
  readonly note: (line: string) => void;
}

/** Makes a token. It works at once, also while the hub runs. Prints the token alone, so that it can be piped on. */
export async function createToken(
  env: NodeJS.ProcessEnv,
  { name, role }: { readonly name: string; readonly role: ApiRole },
  output: Output,
): Promise<void> {
  await using catalog = await openOwnCatalog(env);
  const { token, record } = await catalog.tokens.create({ name, role });
  await catalog.audit.append({
    action: 'token.create',
    actor: localActor(),
    outcome: 'ok',
    subjectType: 'token',
    subjectId: record.id,
    detail: { name, role },
  });
  output.note(`Token ${record.id} (${printable(name)}, ${role}). It is not shown again:`);
  output.print(token);
}

export async function listTokens(
  env: NodeJS.ProcessEnv,
  { json }: { readonly json: boolean },
  output: Output,
): Promise<void> {
  await using catalog = await openOwnCatalog(env);
  const tokens = await catalog.tokens.list();
  if (json) output.print(JSON.stringify(tokens.map(asJson), undefined, 2));
  else if (tokens.length === 0)
    output.note("No token yet: 'sendense-hub token create --name N --role admin'.");
  else for (const token of tokens) output.print(asLine(token));
}

/** @param which its id, or its name when only one usable token has it @throws `not_found` */
export async function revokeToken(env: NodeJS.ProcessEnv, which: string, output: Output): Promise<void> {
  await using catalog = await openOwnCatalog(env);
  const found = (await catalog.tokens.list()).filter(
    ({ id, name, revokedAt }) => id === which || (name === which && revokedAt === undefined),
  );
  const [token, another] = found;
  if (!token || another)
    throw new SendenseError(
      'not_found',
      `${found.length === 0 ? 'no token' : 'more than one token'} is called '${printable(which)}': 'sendense-hub token list' shows their ids`,
    );
  await catalog.tokens.revoke(token.id);
  await catalog.audit.append({
    action: 'token.revoke',
    actor: localActor(),
    outcome: 'ok',
    subjectType: 'token',
    subjectId: token.id,
    detail: { name: token.name },
  });
  output.print(`Revoked ${token.id} (${printable(token.name)}).`);
}

/** The catalogue of the configured data directory; a running hub works on it at the same time (SQLite's WAL allows it). */
async function openOwnCatalog(env: NodeJS.ProcessEnv): Promise<Catalog> {
  const config = readConfig(env);
  const directory = await ownDirectory(config.dataDirectory, 'SENDENSE_DATA_DIR');
  const log = createLogger({ service: 'sendense-hub', level: 'warn' });
  return openCatalog({ directory, database: config.database, log });
}

function localActor(): string {
  return `local:${ownUser().name}`;
}

function asJson({ id, name, role, createdAt, lastUsedAt, revokedAt }: ApiTokenRecord) {
  return {
    token_id: id,
    name,
    role,
    created_at: createdAt.toISOString(),
    last_used_at: lastUsedAt?.toISOString() ?? null,
    revoked_at: revokedAt?.toISOString() ?? null,
  };
}

function asLine({ id, name, role, createdAt, lastUsedAt, revokedAt }: ApiTokenRecord): string {
  const used = lastUsedAt ? `last used ${lastUsedAt.toISOString()}` : 'never used';
  const state = revokedAt ? `revoked ${revokedAt.toISOString()}` : used;
  return [id, role, createdAt.toISOString(), state, printable(name)].join('\t');
}
