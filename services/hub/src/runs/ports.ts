import { createServer } from 'node:net';
import { SendenseError } from '@sendense/core';
import type { Logger, PortRange } from '@sendense/runtime';
import type { PortLease, PortView } from './types.js';

export interface PortPoolOptions {
  readonly range: PortRange;
  readonly log: Logger;
  /** Whether nobody listens on this loopback port. @default a trial bind */
  readonly isFree?: (port: number) => Promise<boolean>;
}

/**
 * The NBD ports of the hub's loopback. A lease belongs to one job of one node; the tunnel lets nobody else through to it.
 * The range is ours by configuration, but a stranger may listen in it all the same: such a port is passed over, reported,
 * and tried again the next time.
 */
export class PortPool {
  readonly #leases = new Map<number, PortLease>();
  readonly #taken = new Map<number, Date>();
  readonly #isFree: (port: number) => Promise<boolean>;

  constructor(private readonly options: PortPoolOptions) {
    this.#isFree = options.isFree ?? canBind;
  }

  get size(): number {
    return this.options.range.last - this.options.range.first + 1;
  }

  get free(): number {
    return this.size - this.#leases.size - this.#taken.size;
  }

  /** @returns undefined when not that many are free now: then none is leased */
  async lease(job: Omit<PortLease, 'port'>, count: number): Promise<PortLeases | undefined> {
    const leases = new PortLeases(this, job);
    if (await this.grow(leases, count)) return leases;
    leases[Symbol.dispose]();
    return undefined;
  }

  leaseOf(port: number): PortLease | undefined {
    return this.#leases.get(port);
  }

  view(): PortView {
    return {
      ...this.options.range,
      leased: [...this.#leases.values()].toSorted((a, b) => a.port - b.port),
      taken: [...this.#taken].map(([port, seenAt]) => ({ port, seenAt })).toSorted((a, b) => a.port - b.port),
      free: this.free,
    };
  }

  /**
   * Leases the lowest free ports until there are `count`; those in `avoid` are not tried. Ports are held while they are
   * tried, so that nobody else tries the same ones. @internal for {@link PortLeases}
   *
   * @returns whether it succeeded
   */
  async grow(leases: PortLeases, count: number, avoid: ReadonlySet<number> = new Set()): Promise<boolean> {
    const tried = new Set(avoid);
    while (leases.ports.length < count) {
      const candidates = this.#unleased(tried).slice(0, count - leases.ports.length);
      if (candidates.length < count - leases.ports.length) return false;
      for (const port of candidates) {
        tried.add(port);
        leases.ports.push(port);
        this.#leases.set(port, { port, ...leases.job });
      }
      for (const port of candidates) {
        if (await this.#isFree(port)) this.#taken.delete(port);
        else this.markTaken(port, leases);
      }
    }
    return true;
  }

  #unleased(except: ReadonlySet<number>): number[] {
    const { first } = this.options.range;
    return Array.from({ length: this.size }, (_, index) => first + index).filter(
      (port) => !this.#leases.has(port) && !except.has(port),
    );
  }

  /** A stranger holds this port: it is nobody's lease. @internal */
  markTaken(port: number, leases: PortLeases): void {
    leases.ports.splice(leases.ports.indexOf(port), 1);
    this.#leases.delete(port);
    if (!this.#taken.has(port))
      this.options.log.warn({ port }, 'an NBD port is held by a process that is not ours');
    this.#taken.set(port, new Date());
  }

  /** @internal */
  giveBack(ports: readonly number[]): void {
    for (const port of ports) this.#leases.delete(port);
  }
}

/** The ports of one job, given back together. */
export class PortLeases implements Disposable {
  readonly ports: number[] = [];

  constructor(
    private readonly pool: PortPool,
    readonly job: Omit<PortLease, 'port'>,
  ) {}

  /** Another port for one that turned out to be held by a stranger. @throws `no_port_available` */
  async replace(port: number): Promise<number> {
    const count = this.ports.length;
    this.pool.markTaken(port, this);
    if (await this.pool.grow(this, count, new Set([port]))) return this.ports.at(-1) ?? port;
    const { first, last } = this.pool.view();
    throw new SendenseError(
      'no_port_available',
      `port ${port} is held by a process that is not ours, and no other port of ${first}-${last} is free: end that process ('ss -tlnp sport = :${port}' names it), or set SENDENSE_NBD_PORTS to another range`,
      { context: { port, job_id: this.job.jobId }, retryable: true },
    );
  }

  [Symbol.dispose](): void {
    this.pool.giveBack(this.ports.splice(0));
  }
}

/** A trial bind sees listeners of every user, and leaves no connection behind on theirs. */
function canBind(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
