import type { Logger } from '@sendense/runtime';
import type { HubConnection } from './connections.js';
import type { NodeSockets } from './node-sockets.js';
import type { Decision, TunnelPolicy } from './policy.js';

interface Holder {
  readonly connection: HubConnection;
  published: boolean;
}

/**
 * Which connection of a node serves the hub's calls. The newest wins: after a cut line the old one may look alive for
 * a while, and must not keep the node out.
 */
export class ControlConnections {
  readonly #holders = new Map<string, Holder>();

  constructor(
    private readonly sockets: NodeSockets,
    private readonly policy: Pick<TunnelPolicy, 'nodeConnected' | 'nodeDisconnected'>,
    private readonly log: Logger,
  ) {}

  isConnected(nodeName: string): boolean {
    return this.#holders.get(nodeName)?.published ?? false;
  }

  connectedNodes(): string[] {
    return [...this.#holders].flatMap(([name, { published }]) => (published ? [name] : []));
  }

  /** First half: the connection may bind its socket, and the one before it has lost its own. */
  claim(connection: HubConnection): Decision<{ readonly socketPath: string }> {
    const nodeName = controlNode(connection);
    if (nodeName === undefined) return { allowed: false, reason: 'not a control connection' };
    const problem = this.sockets.problem(nodeName);
    if (problem !== undefined) return { allowed: false, reason: problem };
    const previous = this.#holders.get(nodeName)?.connection;
    if (previous === connection) return { allowed: false, reason: 'it serves the node already' };
    if (previous) {
      const reason = `replaced by a newer connection from ${connection.remoteAddress}`;
      this.log.warn({ nodeName, from: previous.remoteAddress, reason }, 'a node connected again');
      this.release(previous, reason);
      // Nobody waits for it: its worker may be as dead as its line.
      void previous.worker.order({ type: 'drop', connectionId: previous.id, reason });
    }
    this.#holders.set(nodeName, { connection, published: false });
    return { allowed: true, socketPath: this.sockets.bindPath(connection.id) };
  }

  /** Second half: the connection listens, so the node is connected. */
  publish(connection: HubConnection): Decision {
    const nodeName = controlNode(connection);
    const holder = nodeName === undefined ? undefined : this.#holders.get(nodeName);
    if (nodeName === undefined || holder?.connection !== connection) {
      this.sockets.discard(connection.id);
      return { allowed: false, reason: 'a newer connection has taken over' };
    }
    this.sockets.publish(connection.id, nodeName);
    holder.published = true;
    this.policy.nodeConnected({ nodeName, remoteAddress: connection.remoteAddress });
    return { allowed: true };
  }

  /** The connection no longer serves the hub's calls, if it did. */
  release(connection: HubConnection, reason: string): void {
    const nodeName = controlNode(connection);
    const holder = nodeName === undefined ? undefined : this.#holders.get(nodeName);
    this.sockets.discard(connection.id);
    if (nodeName === undefined || holder?.connection !== connection) return;
    this.#holders.delete(nodeName);
    if (!holder.published) return;
    this.sockets.remove(nodeName);
    this.policy.nodeDisconnected({ nodeName, reason });
  }
}

function controlNode({ user }: HubConnection): string | undefined {
  return user?.jobId === undefined ? user?.nodeName : undefined;
}
