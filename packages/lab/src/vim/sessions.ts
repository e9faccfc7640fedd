import { randomBytes, randomUUID } from 'node:crypto';
import { object, boolean, text, time, int, type Value } from '../soap/value.js';

export interface Session {
  /** The cookie's value: whoever knows it is logged in. */
  readonly cookie: string;
  readonly key: string;
  readonly username: string;
  readonly loginTime: Date;
  readonly address: string;
  readonly userAgent: string;
  lastActive: Date;
  calls: number;
  /** Calls that wait for changes: an open call keeps the session in use. */
  waiting: number;
}

/** Who is logged in. Sessions end by logout, by being idle, and when the lab is told to forget them. */
export class Sessions {
  readonly #sessions = new Map<string, Session>();

  constructor(private readonly idleMs: number) {}

  open(username: string, address: string, userAgent: string): Session {
    const now = new Date();
    const session = {
      cookie: randomBytes(20).toString('hex'),
      key: randomUUID(),
      username,
      loginTime: now,
      address,
      userAgent,
      lastActive: now,
      calls: 0,
      waiting: 0,
    };
    this.#sessions.set(session.cookie, session);
    return session;
  }

  /** The session of a cookie, which is thereby in use. */
  use(cookie: string | undefined): Session | undefined {
    this.#dropIdle();
    const session = cookie === undefined ? undefined : this.#sessions.get(cookie);
    if (session) {
      session.lastActive = new Date();
      session.calls++;
    }
    return session;
  }

  byKey(key: string): Session | undefined {
    this.#dropIdle();
    return [...this.#sessions.values()].find((session) => session.key === key);
  }

  all(): Session[] {
    this.#dropIdle();
    return [...this.#sessions.values()];
  }

  close(session: Session): void {
    this.#sessions.delete(session.cookie);
  }

  expireAll(): void {
    this.#sessions.clear();
  }

  #dropIdle(): void {
    const oldest = Date.now() - this.idleMs;
    for (const [cookie, session] of this.#sessions) {
      if (session.waiting === 0 && session.lastActive.getTime() < oldest) this.#sessions.delete(cookie);
    }
  }
}

export function describeSession(session: Session): Value {
  return object('UserSession', {
    key: text(session.key),
    userName: text(session.username.toUpperCase()),
    fullName: text('Administrator of the lab'),
    loginTime: time(session.loginTime),
    lastActiveTime: time(session.lastActive),
    locale: text('en'),
    messageLocale: text('en'),
    extensionSession: boolean(false),
    ipAddress: text(session.address),
    userAgent: text(session.userAgent),
    callCount: int(session.calls),
  });
}
