import type { SshSession } from '../ssh/library.js';
import type { RefusedThing } from '../hub/policy.js';
import { shown } from './peer.js';

type Reject = (() => void) | undefined;

/**
 * Says no to everything that can be asked for in a session. The session itself is let in, so that the audit trail can
 * say what was wanted: `exec cat /etc/passwd`, not merely "a session".
 */
export function refuseSession(
  session: SshSession,
  refuse: (what: RefusedThing, detail: string) => void,
): void {
  const no = (event: string, what: RefusedThing, detail: (info: Record<string, unknown>) => string) => {
    session.on(event, (_accept: unknown, reject: Reject, info: Record<string, unknown> | undefined) => {
      reject?.();
      refuse(what, detail(info ?? {}));
    });
  };
  no('shell', 'shell', () => 'a shell');
  no('exec', 'exec', ({ command }) => `command ${shown(String(command))}`);
  no('subsystem', 'subsystem', ({ name }) => `subsystem ${shown(String(name))}`);
  no('pty', 'pty', ({ term }) => `a terminal (${shown(String(term))})`);
  no('env', 'env', ({ key }) => `variable ${shown(String(key))}`);
  no('auth-agent', 'agent', () => 'forwarding of the SSH agent');
  no('x11', 'x11', () => 'forwarding of X11');
  no('signal', 'other', ({ name }) => `signal ${shown(String(name))}`);
}
