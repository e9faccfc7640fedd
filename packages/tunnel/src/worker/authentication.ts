import { ENROLMENT_REFUSED_TITLE, ENROLMENT_USER, parseTunnelUser } from '../names.js';
import { keyFingerprint } from '../keys.js';
import {
  utils,
  type AuthContext,
  type KeyboardAuthContext,
  type PublicKeyAuthContext,
} from '../ssh/library.js';
import { shown, type Identity, type Peer } from './peer.js';

const KEY_TYPE = 'ssh-ed25519';
/** The blob of an ed25519 public key: the type and 32 bytes, each with its length before it. */
const KEY_BLOB_BYTES = 4 + KEY_TYPE.length + 4 + 32;
const MAX_SECRET_CHARACTERS = 256;

/**
 * Public keys of enrolled nodes, nothing else. The hub is asked only about keys whose private half the peer has proven
 * to hold. An enrolment proves the new key first (RFC 4252's partial success), then hands over the token's secret in
 * a keyboard-interactive dialogue, because that can also carry the reason of a refusal back to the administrator.
 */
export class Authentication {
  #failures = 0;
  #enrollingKey: string | undefined;

  constructor(
    private readonly peer: Peer,
    private readonly succeed: (identity: Identity) => void,
  ) {}

  async decide(context: AuthContext): Promise<void> {
    if (context.method === 'publickey') await this.#decideKey(context);
    else if (context.method === 'keyboard-interactive') await this.#decideEnrolment(context);
    else this.#fail(context);
  }

  async #decideKey(context: PublicKeyAuthContext): Promise<void> {
    const key = readKey(context);
    if (key === undefined) return this.#fail(context);
    if (context.signature === undefined || context.blob === undefined) {
      // "Would you take this key?" Yes to any: whether it is enrolled is nobody's business before it is proven.
      context.accept();
      return;
    }
    if (!key.verify(context.blob, context.signature)) return this.#fail(context);
    const publicKey = `${KEY_TYPE} ${context.key.data.toString('base64')}`;
    if (context.username === ENROLMENT_USER) {
      this.#enrollingKey = publicKey;
      context.reject(['keyboard-interactive'], true);
      return;
    }
    await this.#decideNode(context, publicKey);
  }

  async #decideNode(context: PublicKeyAuthContext, publicKey: string): Promise<void> {
    const key = `key ${keyFingerprint(publicKey)}`;
    const user = parseTunnelUser(context.username);
    if (user === undefined) {
      this.peer.refuse('authentication', `user ${shown(context.username)} is not a node's name, ${key}`);
      return this.#fail(context);
    }
    const decision = await this.peer.ask({ kind: 'authenticate', ...user, publicKey });
    if (this.peer.ended) return;
    if (!decision.allowed) {
      this.peer.refuse('authentication', `user ${shown(context.username)}, ${key}: ${decision.reason}`);
      return this.#fail(context);
    }
    this.succeed({ kind: 'node', ...user });
    context.accept();
  }

  async #decideEnrolment(context: KeyboardAuthContext): Promise<void> {
    const publicKey = this.#enrollingKey;
    if (context.username !== ENROLMENT_USER || publicKey === undefined) return this.#fail(context);
    const secret = await ask(context, 'Enrolment', 'Secret of the enrolment token: ', false);
    if (secret === undefined || this.peer.ended) return;
    const decision =
      secret.length > MAX_SECRET_CHARACTERS
        ? { allowed: false as const, reason: 'the secret is too long' }
        : await this.peer.ask({ kind: 'enrol', secret, publicKey });
    if (this.peer.ended) return;
    if (decision.allowed) {
      this.succeed({ kind: 'enrolment' });
      context.accept();
      return;
    }
    this.peer.refuse('enrolment', `key ${keyFingerprint(publicKey)}: ${decision.reason}`);
    await ask(context, ENROLMENT_REFUSED_TITLE, `${decision.reason}\n`, true);
    if (!this.peer.ended) this.#fail(context);
  }

  #fail(context: AuthContext): void {
    // Clients begin with "none" to learn the methods: that is no attempt.
    if (context.method !== 'none') this.#failures++;
    if (this.#failures >= this.peer.limits.maxAuthenticationTries) {
      this.peer.close('too many failed authentications');
      return;
    }
    context.reject(['publickey']);
  }
}

/** @returns undefined when the peer does something else instead of answering */
async function ask(
  context: KeyboardAuthContext,
  title: string,
  text: string,
  echo: boolean,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    context.prompt([{ prompt: text, echo }], title, (answers: unknown) => {
      const answer: unknown = Array.isArray(answers) ? answers[0] : undefined;
      resolve(typeof answer === 'string' ? answer : undefined);
    });
  });
}

function readKey(context: PublicKeyAuthContext) {
  const { algo, data } = context.key;
  if (algo !== KEY_TYPE || data.length !== KEY_BLOB_BYTES) return undefined;
  const key = utils.parseKey(`${KEY_TYPE} ${data.toString('base64')}`);
  return key instanceof Error || key.type !== KEY_TYPE ? undefined : key;
}
