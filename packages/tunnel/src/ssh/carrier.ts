import type { Socket } from 'node:net';

/** Above this, whoever feeds the connection waits: ssh2 itself hands over everything the channel windows allow. */
const BACKLOG_BYTES = 1 << 20;

/** One writev(2) takes no more than fits into the CPU's cache beside what it was made of. */
const FLUSH_BYTES = 512 << 10;

/**
 * Writes of one turn of the event loop leave in one writev(2): a channel's data may arrive as packets of 32 KiB, and
 * a system call for each would cost more than its encryption.
 */
export class TurnWriter {
  #corked = false;

  constructor(private readonly socket: Socket) {}

  /** Call before writing: what is written until the end of this turn leaves together, up to half a megabyte of it. */
  collect(): void {
    if (this.#corked) {
      if (this.socket.writableLength >= FLUSH_BYTES) {
        this.socket.uncork();
        this.socket.cork();
      }
      return;
    }
    this.#corked = true;
    this.socket.cork();
    // After the poll phase: libuv reads a ready socket several times in it, so one turn may bring 2 MiB.
    setImmediate(() => {
      this.#corked = false;
      this.socket.uncork();
    });
  }
}

/** The TCP connection under one SSH connection, as those who write into its channels see it. */
export class Carrier extends TurnWriter {
  readonly #waiting = new Set<() => void>();

  constructor(readonly tcp: Socket) {
    super(tcp);
    tcp.on('drain', () => {
      for (const resume of this.#waiting) resume();
      this.#waiting.clear();
    });
  }

  get backlogged(): boolean {
    return this.tcp.writableLength > BACKLOG_BYTES;
  }

  /** Calls back once the backlog has left; not at all when the connection ends first. */
  onceDrained(resume: () => void): void {
    this.#waiting.add(resume);
  }
}
