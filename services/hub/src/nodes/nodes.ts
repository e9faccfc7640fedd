import type { Catalog, NodeRecord } from '@sendense/catalog';
import { SendenseError, toSendenseError } from '@sendense/core';
import { withDeadline, type Logger } from '@sendense/runtime';
import { makeEnrolmentToken, type TunnelServer } from '@sendense/tunnel';
import { longestNodeName, nodeSocketPath } from '../config.js';
import { NodeConnections, type NodeClient } from '../node-client.js';
import type { NodeLimits } from '../node-limits.js';
import type { NodeAccess } from '../runs/index.js';

/** Long enough to carry the token to another machine, short enough to be no standing secret. */
export const ENROLMENT_LIFETIME_MS = 60 * 60 * 1000;
const REFRESH_EVERY_MS = 60_000;
const ANSWER_TIMEOUT_MS = 3_000;

export interface NodeView {
  readonly record: NodeRecord;
  readonly online: boolean;
  readonly socketPath: string;
}

export interface NodeEnrolment {
  readonly name: string;
  readonly token: string;
  readonly expiresAt: Date;
}

export interface NodesOptions {
  readonly catalog: Catalog;
  readonly runtimeDirectory: string;
  readonly log: Logger;
  /** @default NODE_LIMITS */
  readonly limits?: Partial<NodeLimits>;
}

/** The nodes of this hub: who they are (catalogue), whether they are there (tunnel), and calls to them (gRPC). */
export class Nodes implements NodeAccess, AsyncDisposable {
  readonly #connections: NodeConnections;
  readonly #refreshing = new Map<string, Promise<void>>();
  #tunnel: TunnelServer | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: NodesOptions) {
    const reach = {
      isConnected: (name: string) => this.isConnected(name),
      socketPath: (name: string) => nodeSocketPath(options.runtimeDirectory, name),
    };
    this.#connections = new NodeConnections(reach, options.limits);
  }

  /** The tunnel needs decisions from what needs the nodes, so it comes last; until then no node is connected. */
  attach(tunnel: TunnelServer): void {
    this.#tunnel = tunnel;
    this.#timer = setInterval(() => {
      for (const name of tunnel.statistics().connectedNodes) this.#refreshInBackground(name);
    }, REFRESH_EVERY_MS);
    this.#timer.unref();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#tunnel = undefined;
    this.#connections[Symbol.dispose]();
    await Promise.all(this.#refreshing.values());
  }

  isConnected(name: string): boolean {
    return this.#tunnel?.isConnected(name) ?? false;
  }

  client(name: string): NodeClient {
    return this.#connections.client(name);
  }

  async revokeJob(jobId: string): Promise<void> {
    await this.#tunnel?.revokeJob(jobId);
  }

  /** Told by the tunnel. */
  connected(name: string): void {
    this.#refreshInBackground(name);
  }

  async list(): Promise<NodeView[]> {
    return (await this.options.catalog.nodes.list()).map((record) => this.#view(record));
  }

  /** With its checks as they are now, when it is online. @throws `node_not_found` */
  async get(name: string): Promise<NodeView> {
    const record = await this.options.catalog.nodes.get(name);
    if (!this.isConnected(name)) return this.#view(record);
    // One that is slow to answer is shown as it was last seen.
    await withDeadline(`asking ${name}`, ANSWER_TIMEOUT_MS, () => this.#refresh(name)).catch(() => undefined);
    return this.#view(await this.options.catalog.nodes.get(name));
  }

  /** @throws `already_exists`, `invalid_argument` */
  async add(name: string): Promise<NodeEnrolment> {
    const longest = longestNodeName(this.options.runtimeDirectory);
    if (Buffer.byteLength(name) > longest)
      throw new SendenseError(
        'invalid_argument',
        `name must have at most ${longest} characters here: its socket lies below SENDENSE_RUNTIME_DIR (${this.options.runtimeDirectory}), whose length leaves no more`,
        { context: { fields: 'name' } },
      );
    await this.options.catalog.nodes.create(name);
    return this.issueToken(name);
  }

  /** A new one-time token; one that was not used stops working. @throws `node_not_found` */
  async issueToken(name: string): Promise<NodeEnrolment> {
    const lifetimeMs = ENROLMENT_LIFETIME_MS;
    const { secret, expiresAt } = await this.options.catalog.nodes.issueEnrolmentToken(name, { lifetimeMs });
    const hostKeyFingerprint = this.#requireTunnel().hostKeyFingerprint;
    return { name, token: makeEnrolmentToken({ nodeName: name, secret, hostKeyFingerprint }), expiresAt };
  }

  /**
   * An enrolled node is revoked: its connections end and its key is never accepted again. One that is revoked already, or
   * was never enrolled, is forgotten.
   *
   * @throws `node_not_found`; `conflict` while a vCenter names the node to be forgotten
   */
  async remove(name: string): Promise<'revoked' | 'forgotten'> {
    const { catalog } = this.options;
    const { state } = await catalog.nodes.get(name);
    if (state !== 'enrolled') {
      await catalog.nodes.remove(name);
      return 'forgotten';
    }
    await catalog.nodes.revoke(name);
    await this.#tunnel?.disconnectNode(name, 'the node was revoked');
    return 'revoked';
  }

  /** How many there are by what they are doing. */
  async countByState(): Promise<{ readonly online: number; readonly offline: number }> {
    const enrolled = (await this.options.catalog.nodes.list()).filter((node) => node.state === 'enrolled');
    const online = enrolled.filter((node) => this.isConnected(node.name)).length;
    return { online, offline: enrolled.length - online };
  }

  #view(record: NodeRecord): NodeView {
    const online = record.state === 'enrolled' && this.isConnected(record.name);
    return { record, online, socketPath: nodeSocketPath(this.options.runtimeDirectory, record.name) };
  }

  #requireTunnel(): TunnelServer {
    if (this.#tunnel) return this.#tunnel;
    throw new SendenseError('shutting_down', 'the hub is starting or stopping: try again', {
      retryable: true,
    });
  }

  #refreshInBackground(name: string): void {
    void this.#refresh(name);
  }

  /** Takes over what the node says of itself; never rejects. One at a time for each node. */
  #refresh(name: string): Promise<void> {
    const running = this.#refreshing.get(name);
    if (running) return running;
    const refresh = this.#takeOver(name).finally(() => this.#refreshing.delete(name));
    this.#refreshing.set(name, refresh);
    return refresh;
  }

  async #takeOver(name: string): Promise<void> {
    try {
      const { version, commit, checks } = await this.client(name).getNode();
      await this.options.catalog.nodes.seen(name, { version, commit, checks });
    } catch (error) {
      const { code, message } = toSendenseError(error);
      this.options.log.warn({ nodeName: name, code, error: message }, 'a node did not answer about itself');
    }
  }
}
