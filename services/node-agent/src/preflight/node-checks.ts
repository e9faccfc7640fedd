import { access, statfs } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { checkNbdkit } from '@sendense/qemu';
import type { VddkConfig } from '../config.js';

export interface NodeCheck {
  readonly name: string;
  readonly ok: boolean;
  /** What was found, or what is wrong and how to fix it. */
  readonly detail: string;
}

/** The hub asks often; running nbdkit for each answer would be rude. */
const KEEP_MS = 10_000;
/** Block hashes take 1/4096 of a disk: this is room for 4 TiB of them. */
const HASH_SPACE_BYTES = 1 << 30;

/** What a backup needs on this machine, checked now or a moment ago. */
export class NodeChecks {
  #last: { readonly at: number; readonly results: Promise<NodeCheck[]> } | undefined;

  constructor(private readonly config: VddkConfig & { readonly dataDirectory: string }) {}

  async run(): Promise<NodeCheck[]> {
    if (!this.#last || Date.now() - this.#last.at > KEEP_MS)
      this.#last = { at: Date.now(), results: checkMachine(this.config) };
    return this.#last.results;
  }
}

/** Never throws: what cannot be checked is not ok. */
export async function checkMachine(
  config: VddkConfig & { readonly dataDirectory: string },
): Promise<NodeCheck[]> {
  const { nbdkit: command, nbdkitVddkPlugin: plugin, vddkLibdir: libdir } = config;
  const tools = await checkNbdkit({ command, plugin, ...(libdir === undefined ? {} : { libdir }) });
  return [...tools, await checkClient(), await checkSpace(config.dataDirectory)];
}

async function checkClient(): Promise<NodeCheck> {
  const path = fileURLToPath(new URL('../backup-client/main.js', import.meta.url));
  const name = 'backup_client';
  return access(path).then(
    () => ({ name, ok: true, detail: path }),
    () => ({ name, ok: false, detail: `${path} is missing: install sendense-node again` }),
  );
}

async function checkSpace(dataDirectory: string): Promise<NodeCheck> {
  const name = 'hash_space';
  try {
    const { bavail, bsize } = await statfs(dataDirectory);
    const free = bavail * bsize;
    const detail = `${(free / 2 ** 30).toFixed(1)} GiB free in ${dataDirectory}`;
    if (free >= HASH_SPACE_BYTES) return { name, ok: true, detail };
    return { name, ok: false, detail: `${detail}: block hashes take 1/4096 of a disk; make room for 1 GiB` };
  } catch (error) {
    return { name, ok: false, detail: `${(error as Error).message}: create ${dataDirectory}` };
  }
}
