import { randomBytes } from 'node:crypto';
import { link, open, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SendenseError } from '@sendense/core';
import { syncDirectory, syncFile, writeFileAtomically } from '@sendense/runtime';

export interface CredentialKey {
  /** 8 hexadecimal digits. */
  readonly id: string;
  /** 32 bytes. */
  readonly bytes: Buffer;
}

const FILE_MODE = 0o600;
const HEADER =
  '# Sendense: keys of the stored passwords, newest last. Keep a copy apart from the catalogue.\n';
const LINE = /^([0-9a-f]{8}) ([A-Za-z0-9+/]{43}=)$/;

/**
 * The key file: one `<key id> <32 bytes, base64>` a line. The newest (last) encrypts, all decrypt.
 * Its permissions are part of the protection: others' are refused, not repaired, because it may have been read already.
 */
export class CredentialKeys {
  #keys: readonly CredentialKey[];

  private constructor(
    readonly path: string,
    keys: readonly CredentialKey[],
  ) {
    this.#keys = keys;
  }

  /**
   * Reads the file. It is made when it is missing, unless `inUse` passwords need it; an empty file is taken as the
   * operator's word that the keys are lost, and gets a new one.
   * @throws `credentials_unreadable` naming the fix
   */
  static async open(path: string, inUse: number): Promise<CredentialKeys> {
    const keys = await readKeyFile(path);
    if (keys && keys.length > 0) return new CredentialKeys(path, keys);
    if (!keys && inUse > 0) {
      throw new SendenseError(
        'credentials_unreadable',
        `the key file ${path} is missing, and ${inUse} stored passwords need it: put it back from your copy. ` +
          `If it is lost, accept that with: install -m 600 /dev/null '${path}' — and enter those passwords again`,
        { context: { path } },
      );
    }
    const made = await createKeyFile(path, keys !== undefined);
    return new CredentialKeys(path, made);
  }

  /** What encrypts. */
  get newest(): CredentialKey {
    const key = this.#keys.at(-1);
    if (!key) throw new SendenseError('credentials_unreadable', `the key file ${this.path} holds no key`);
    return key;
  }

  /** Looks into the file again when the key is not known: another process may have added it. */
  async find(id: string): Promise<CredentialKey | undefined> {
    const known = this.#keys.find((key) => key.id === id);
    if (known) return known;
    this.#keys = (await readKeyFile(this.path)) ?? this.#keys;
    return this.#keys.find((key) => key.id === id);
  }

  /** Adds a new newest key. */
  async add(): Promise<CredentialKey> {
    const present = (await readKeyFile(this.path)) ?? this.#keys;
    const key = makeKey();
    await writeFileAtomically(this.path, formatKeys([...present, key]), FILE_MODE);
    this.#keys = [...present, key];
    return key;
  }
}

/** @returns undefined when there is no such file */
async function readKeyFile(path: string): Promise<CredentialKey[] | undefined> {
  let handle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unreadable(
      path,
      (error as Error).message,
      'make it readable for the user that runs Sendense',
      error,
    );
  }
  try {
    const { mode, uid } = await handle.stat();
    const us = process.getuid?.() ?? uid;
    if (uid !== us)
      throw unreadable(
        path,
        `it belongs to user ${uid}, and this process runs as user ${us}`,
        `run it as user ${uid}, or: chown ${us} '${path}'`,
      );
    if ((mode & 0o077) !== 0)
      throw unreadable(
        path,
        `others may read or write it (mode ${(mode & 0o777).toString(8)})`,
        `run: chmod 600 '${path}' — and, if others may have read it, change the passwords`,
      );
    return parseKeys(path, await handle.readFile('utf8'));
  } finally {
    await handle.close();
  }
}

function parseKeys(path: string, text: string): CredentialKey[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
  return lines.map((line) => {
    const [, id, encoded] = LINE.exec(line.trim()) ?? [];
    if (id === undefined || encoded === undefined)
      throw unreadable(
        path,
        'a line of it is not "<key id> <32 bytes, base64>"',
        'put it back from your copy',
      );
    return { id, bytes: Buffer.from(encoded, 'base64') };
  });
}

/** Of two processes that do this at the same time one wins, and both use its key. */
async function createKeyFile(path: string, replaceEmpty: boolean): Promise<CredentialKey[]> {
  const keys = [makeKey()];
  if (replaceEmpty) {
    await writeFileAtomically(path, formatKeys(keys), FILE_MODE);
    return keys;
  }
  const temporary = join(dirname(path), `.credential.${randomBytes(6).toString('hex')}.partial`);
  try {
    await writeFile(temporary, formatKeys(keys), { flag: 'wx', mode: FILE_MODE });
    await syncFile(temporary);
    await link(temporary, path);
    await syncDirectory(dirname(path));
    return keys;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return (await readKeyFile(path)) ?? [];
  } finally {
    await rm(temporary, { force: true });
  }
}

function makeKey(): CredentialKey {
  return { id: randomBytes(4).toString('hex'), bytes: randomBytes(32) };
}

function formatKeys(keys: readonly CredentialKey[]): string {
  return HEADER + keys.map(({ id, bytes }) => `${id} ${bytes.toString('base64')}\n`).join('');
}

function unreadable(path: string, what: string, fix: string, cause?: unknown): SendenseError {
  return new SendenseError('credentials_unreadable', `the key file ${path} is not usable: ${what}; ${fix}`, {
    cause,
    context: { path },
  });
}
