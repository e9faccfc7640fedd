import type { TunnelUser } from '../names.js';
import type { WorkerProcess } from './worker-process.js';

/** A connection as the hub process knows it; a worker carries it. */
export interface HubConnection {
  readonly id: number;
  readonly worker: WorkerProcess;
  readonly remoteAddress: string;
  state: 'stranger' | 'authenticated' | 'leaving';
  /** Set when the policy has let it in. */
  user: TunnelUser | undefined;
}

/** Every connection there is, oldest first. */
export class Connections {
  readonly #all = new Map<number, HubConnection>();
  #lastId = 0;

  add(worker: WorkerProcess, remoteAddress: string): HubConnection {
    const connection: HubConnection = {
      id: ++this.#lastId,
      worker,
      remoteAddress,
      state: 'stranger',
      user: undefined,
    };
    this.#all.set(connection.id, connection);
    return connection;
  }

  get(id: number): HubConnection | undefined {
    return this.#all.get(id);
  }

  remove(id: number): void {
    this.#all.delete(id);
  }

  /** Those that have not authenticated yet, oldest first. */
  strangers(): HubConnection[] {
    return [...this.#all.values()].filter(({ state }) => state === 'stranger');
  }

  authenticated(): HubConnection[] {
    return [...this.#all.values()].filter(({ state }) => state === 'authenticated');
  }

  ofNode(nodeName: string): HubConnection[] {
    return [...this.#all.values()].filter(({ user }) => user?.nodeName === nodeName);
  }

  of(worker: WorkerProcess): HubConnection[] {
    return [...this.#all.values()].filter((connection) => connection.worker === worker);
  }
}
