import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SendenseError } from '@sendense/core';

/** sockaddr_un holds 108 bytes, one of them for the end of the text. */
const MAX_PATH_BYTES = 107;

/**
 * The unix sockets through which the hub reaches its nodes: `<runtime directory>/nodes/<name>.sock`. Workers bind them
 * under passing names; only this process moves them to their real names and takes them away, so that a worker that
 * lags behind cannot remove the socket of a newer connection.
 */
export class NodeSockets {
  readonly #directory: string;

  /**
   * Makes the directory (0700) and removes what an earlier run left in it.
   *
   * @throws `invalid_config` when sockets in it would have paths that are too long; the file system's own errors
   */
  constructor(runtimeDirectory: string) {
    this.#directory = join(runtimeDirectory, 'nodes');
    const shortest = this.path('x');
    if (Buffer.byteLength(shortest) > MAX_PATH_BYTES) {
      throw new SendenseError('invalid_config', tooLong(shortest));
    }
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    this.clear();
  }

  path(nodeName: string): string {
    return join(this.#directory, `${nodeName}.sock`);
  }

  /** Where the worker of a connection binds. */
  bindPath(connectionId: number): string {
    return join(this.#directory, `.c${connectionId}`);
  }

  /** @returns why the node's socket cannot be made */
  problem(nodeName: string): string | undefined {
    const path = this.path(nodeName);
    return Buffer.byteLength(path) > MAX_PATH_BYTES ? tooLong(path) : undefined;
  }

  publish(connectionId: number, nodeName: string): void {
    renameSync(this.bindPath(connectionId), this.path(nodeName));
  }

  remove(nodeName: string): void {
    rmSync(this.path(nodeName), { force: true });
  }

  discard(connectionId: number): void {
    rmSync(this.bindPath(connectionId), { force: true });
  }

  clear(): void {
    for (const entry of readdirSync(this.#directory, { withFileTypes: true })) {
      if (entry.isSocket()) rmSync(join(this.#directory, entry.name), { force: true });
    }
  }
}

function tooLong(path: string): string {
  return `the socket path ${path} is longer than ${MAX_PATH_BYTES} bytes: use a shorter SENDENSE_RUNTIME_DIR`;
}
