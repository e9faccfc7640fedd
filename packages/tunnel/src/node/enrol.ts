import { SendenseError, errorCode } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import { parseEnrolmentToken } from '../enrolment-token.js';
import { ENROLMENT_REFUSED_TITLE, ENROLMENT_USER } from '../names.js';
import { connectToHub, where } from './connect.js';
import { DEFAULT_TIMING } from './timing.js';

export interface EnrolOptions {
  readonly hub: { readonly host: string; readonly port: number };
  /** As the hub showed it: names the node, the secret and the hub's host key. */
  readonly token: string;
  /** The node's new key: the hub stores its public half. */
  readonly privateKeyPem: string;
  readonly signal?: AbortSignal;
  readonly log: Logger;
}

type Prompt = (
  title: string,
  instructions: string,
  language: string,
  prompts: readonly { readonly prompt: string }[],
  answer: (answers: string[]) => void,
) => void;

/**
 * Makes the hub accept this node's key from now on.
 *
 * @returns the node's name, and the host key fingerprint to pin
 * @throws `invalid_argument` (token), `host_key_mismatch`, `enrolment_refused` with the hub's reason, `tunnel_lost`,
 *   `cancelled`
 */
export async function enrol(
  options: EnrolOptions,
): Promise<{ readonly nodeName: string; readonly hostKeyFingerprint: string }> {
  const { nodeName, secret, hostKeyFingerprint } = parseEnrolmentToken(options.token);
  const hub = { ...options.hub, hostKeyFingerprint };
  let reason: string | undefined;
  const prompt: Prompt = (title, _instructions, _language, prompts, answer) => {
    if (title === ENROLMENT_REFUSED_TITLE) reason = prompts[0]?.prompt.trim();
    answer(prompts.map(() => (title === ENROLMENT_REFUSED_TITLE ? '' : secret)));
  };
  try {
    await using _connection = await connectToHub({
      hub,
      user: ENROLMENT_USER,
      steps: [
        { type: 'publickey', key: options.privateKeyPem },
        { type: 'keyboard-interactive', prompt },
      ],
      timing: DEFAULT_TIMING,
      ...(options.signal ? { signal: options.signal } : {}),
    });
    options.log.info({ nodeName, hub: where(hub) }, 'enrolled');
    return { nodeName, hostKeyFingerprint };
  } catch (error) {
    if (errorCode(error) !== 'permission_denied') throw error;
    throw new SendenseError(
      'enrolment_refused',
      `the hub ${where(hub)} refused the enrolment of ${nodeName}: ${reason ?? 'it gave no reason'}`,
      { cause: error, context: { nodeName } },
    );
  }
}
