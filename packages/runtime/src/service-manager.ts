import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { toSendenseError } from '@sendense/core';
import type { Logger } from './log.js';

const run = promisify(execFile);

/** A datagram to systemd; longer means that something is badly wrong, and the next one comes soon. */
const NOTIFY_TIMEOUT_MS = 10_000;
/** Pings for each period of the watchdog: one may be late. */
const PINGS_PER_PERIOD = 3;

/**
 * Tells systemd how this service is (sd_notify(3)): that it is ready, that it lives, that it stops. Where nobody wants to
 * know, nothing happens. The watchdog's pings come from the event loop, so a program that hangs is ended and started again.
 *
 * Node has no datagram sockets of the unix kind; the program systemd-notify(1) sends, which needs NotifyAccess=all. It
 * stays until systemd has read the message, so that systemd knows whose it is.
 */
export class ServiceManager implements Disposable {
  readonly #environment: Readonly<Record<string, string>> | undefined;
  readonly #watchdogMs: number;
  #pings: NodeJS.Timeout | undefined;

  /** Takes what is for this process out of the environment: it is not for its children. */
  constructor(
    env: NodeJS.ProcessEnv,
    private readonly log: Logger,
  ) {
    const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: period, WATCHDOG_PID: pid } = env;
    for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[name];
    const path = env['PATH'];
    this.#environment = socket ? { NOTIFY_SOCKET: socket, ...(path ? { PATH: path } : {}) } : undefined;
    this.#watchdogMs = period && (!pid || Number(pid) === process.pid) ? Number(period) / 1000 : 0;
  }

  /** The service does its work from now on, and says so until this is disposed. */
  async ready(): Promise<void> {
    await this.#tell('READY=1');
    if (!this.#environment || !(this.#watchdogMs > 0)) return;
    const ping = () => void this.#tell('WATCHDOG=1');
    this.#pings = setInterval(ping, this.#watchdogMs / PINGS_PER_PERIOD).unref();
  }

  /** It has begun to end in order, which may take a while; systemd's limit is TimeoutStopSec. */
  async stopping(): Promise<void> {
    await this.#tell('STOPPING=1');
  }

  /** One line for `systemctl status`. */
  async status(text: string): Promise<void> {
    await this.#tell(`STATUS=${text}`);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#pings);
  }

  async #tell(message: string): Promise<void> {
    if (!this.#environment) return;
    try {
      await run('systemd-notify', [message], { env: this.#environment, timeout: NOTIFY_TIMEOUT_MS });
    } catch (error) {
      // systemd acts on what it does not hear.
      const why = toSendenseError(error).message;
      this.log.warn({ message, error: why }, 'systemd could not be told about this service');
    }
  }
}
