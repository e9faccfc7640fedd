import { SendenseError, toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { BackupLimits } from '../config.js';
import type { PortLeases, PortPool } from './ports.js';
import type { QueuedBackup } from './types.js';

/** What one backup takes while it runs. */
export interface Demand {
  readonly jobId: string;
  readonly nodeName: string;
  /** NBD ports: one a disk. */
  readonly ports: number;
  /** Morefs are unique within a vCenter only. */
  readonly vcenterId: string;
  /** The ESXi host that the VM was last seen on. */
  readonly host: string;
  readonly datastores: readonly string[];
}

export interface BackupQueueOptions {
  readonly limits: BackupLimits;
  readonly pool: PortPool;
  readonly log: Logger;
  /** See RunTiming.portRetryMs. */
  readonly portRetryMs: number;
}

/** Something of which only so much is used at a time. */
interface Resource {
  readonly key: string;
  readonly limit: number;
  /** For people: `node berlin`. */
  readonly name: string;
}

interface Waiter {
  readonly demand: Demand;
  readonly since: Date;
  readonly admit: (place: Place) => void;
  readonly refuse: (error: SendenseError) => void;
  waitingFor: string;
  /** How many that came later were started before it. */
  passed: number;
}

/**
 * Backups in the order in which they came, each started when everything it needs is free. One that waits for a busy
 * datastore, host or node lets those pass that do not need it; whoever waits for ports or for the hub is passed by nobody,
 * and neither is one that has been passed as often as the hub runs backups at a time: it cannot be overtaken for ever.
 */
export class BackupQueue implements Disposable {
  readonly #waiting: Waiter[] = [];
  readonly #used = new Map<string, number>();
  #admission: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;

  constructor(private readonly options: BackupQueueOptions) {}

  /** @throws `no_port_available` when it needs more ports than there are, so that it would wait for ever */
  requirePossible({ ports, jobId }: Pick<Demand, 'ports' | 'jobId'>): void {
    const { size } = this.options.pool;
    if (ports <= size) return;
    throw new SendenseError(
      'no_port_available',
      `the VM has ${ports} disks, each of which needs an NBD port, and the hub has ${size}: widen SENDENSE_NBD_PORTS`,
      { context: { ...(jobId === '' ? {} : { job_id: jobId }), ports_needed: ports, ports: size } },
    );
  }

  /**
   * Waits for its turn. The place is given back by disposing it.
   *
   * @param onWaiting called once if it cannot start at once
   * @throws `no_port_available` when it could never start · the signal's reason
   */
  async enter(demand: Demand, signal: AbortSignal, onWaiting: () => void = () => {}): Promise<Place> {
    this.requirePossible(demand);
    const admitted = Promise.withResolvers<Place>();
    const waiter: Waiter = {
      demand,
      since: new Date(),
      admit: admitted.resolve,
      refuse: admitted.reject,
      waitingFor: 'its turn',
      passed: 0,
    };
    const leave = () => {
      if (!this.#remove(waiter)) return;
      waiter.refuse(abortReason(signal));
      this.#pump();
    };
    if (signal.aborted) throw abortReason(signal);
    signal.addEventListener('abort', leave, { once: true });
    this.#waiting.push(waiter);
    try {
      this.#pump();
      await this.#admission;
      if (this.#waiting.includes(waiter)) onWaiting();
      return await admitted.promise;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  view(): QueuedBackup[] {
    return this.#waiting.map(({ demand, waitingFor, since }, index) => ({
      jobId: demand.jobId,
      position: index + 1,
      waitingFor,
      since,
    }));
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#retry);
  }

  /** Lets in whoever fits. One after another, because leasing ports takes a moment. */
  #pump(): void {
    clearTimeout(this.#retry);
    this.#admission = this.#admission
      .then(() => this.#admitAll())
      .catch((error: unknown) => {
        this.options.log.error({ error: toSendenseError(error).message }, 'the queue could not go on');
      });
  }

  async #admitAll(): Promise<void> {
    const kept = new Set<string>();
    let portsMissing = false;
    for (const waiter of this.#waiting.slice()) {
      const resources = this.#resources(waiter.demand);
      const full = resources.filter(({ key, limit }) => (this.#used.get(key) ?? 0) >= limit);
      const fits = full.length === 0 && resources.every(({ key }) => !kept.has(key));
      const ports = fits ? await this.#lease(waiter.demand) : undefined;
      if (ports) {
        this.#admit(waiter, ports, resources);
        continue;
      }
      portsMissing ||= fits;
      waiter.waitingFor =
        full[0]?.name ?? (fits ? `${waiter.demand.ports} NBD ports` : 'earlier backups to start');
      const patient = !fits && waiter.passed < this.options.limits.total;
      for (const { key } of patient ? full : resources) kept.add(key);
    }
    if (portsMissing) this.#retry = setTimeout(() => this.#pump(), this.options.portRetryMs).unref();
  }

  #lease({ jobId, nodeName, ports }: Demand): Promise<PortLeases | undefined> {
    return this.options.pool.lease({ jobId, nodeName }, ports);
  }

  #admit(waiter: Waiter, ports: PortLeases, resources: readonly Resource[]): void {
    for (const earlier of this.#waiting.slice(0, this.#waiting.indexOf(waiter))) earlier.passed++;
    // It may have been cancelled while its ports were leased.
    if (!this.#remove(waiter)) {
      ports[Symbol.dispose]();
      return;
    }
    for (const { key } of resources) this.#used.set(key, (this.#used.get(key) ?? 0) + 1);
    waiter.admit(
      new Place(waiter.demand, ports, () => {
        ports[Symbol.dispose]();
        for (const { key } of resources) this.#giveBack(key);
        this.#pump();
      }),
    );
  }

  #giveBack(key: string): void {
    const left = (this.#used.get(key) ?? 0) - 1;
    if (left > 0) this.#used.set(key, left);
    else this.#used.delete(key);
  }

  #resources({ nodeName, vcenterId, host, datastores }: Demand): Resource[] {
    const { limits } = this.options;
    return [
      ...[...new Set(datastores)].map((datastore) => ({
        key: `datastore:${vcenterId}:${datastore}`,
        limit: limits.perDatastore,
        name: `datastore ${datastore}, which serves ${limits.perDatastore} backups now`,
      })),
      {
        key: `host:${vcenterId}:${host}`,
        limit: limits.perHost,
        name: `ESXi host ${host}, which serves ${limits.perHost} backups now`,
      },
      {
        key: `node:${nodeName}`,
        limit: limits.perNode,
        name: `node ${nodeName}, which runs ${limits.perNode} backups now`,
      },
      { key: 'hub', limit: limits.total, name: `the hub, which runs ${limits.total} backups now` },
    ];
  }

  #remove(waiter: Waiter): boolean {
    const index = this.#waiting.indexOf(waiter);
    if (index >= 0) this.#waiting.splice(index, 1);
    return index >= 0;
  }
}

/** The right to run, with the ports for it. */
export class Place implements Disposable {
  #release: (() => void) | undefined;

  constructor(
    readonly demand: Demand,
    readonly ports: PortLeases,
    release: () => void,
  ) {
    this.#release = release;
  }

  [Symbol.dispose](): void {
    this.#release?.();
    this.#release = undefined;
  }
}

function abortReason(signal: AbortSignal): SendenseError {
  return signal.reason instanceof SendenseError ? signal.reason : toSendenseError(signal.reason, 'cancelled');
}
