import type { TunnelLimits } from './limits.js';
import type { Decision, OpenRequest, Refusal } from './policy.js';

// What the hub process and a tunnel worker say to each other over IPC. Both are of the same build, so that neither
// checks the other's messages; nothing that a peer sends is passed on without its length being bounded.

export interface WorkerConfig {
  /** Over IPC and not in argv or the environment, which others can read. */
  readonly hostKeyPem: string;
  readonly limits: TunnelLimits;
}

export type ToWorker =
  | { readonly type: 'start'; readonly config: WorkerConfig }
  /** The socket travels beside this message. */
  | { readonly type: 'connection'; readonly id: number; readonly remoteAddress: string }
  | { readonly type: 'answer'; readonly id: number; readonly answer: WorkerAnswer }
  /** Close this connection at once; `done` when it is closed. */
  | { readonly type: 'drop'; readonly id: number; readonly connectionId: number; readonly reason: string }
  /** Close the channels and lanes of this job; `done` when they are closed. */
  | { readonly type: 'revoke_job'; readonly id: number; readonly jobId: string };

export type WorkerQuestion =
  | {
      readonly kind: 'authenticate';
      readonly nodeName: string;
      readonly jobId: string | undefined;
      readonly publicKey: string;
    }
  | { readonly kind: 'enrol'; readonly secret: string; readonly publicKey: string }
  | ({ readonly kind: 'may_open' } & OpenRequest)
  /** The connection is the node's control connection from now on: where may it listen for the hub's own calls? */
  | { readonly kind: 'claim_api' }
  /** It listens there: make it the node's socket. */
  | { readonly kind: 'publish_api' };

export type WorkerAnswer =
  | Decision
  | Decision<{ readonly nodeName: string }>
  | Decision<{ readonly jobId: string }>
  | Decision<{ readonly socketPath: string }>;

export type AnswerTo<Q extends WorkerQuestion> = Q extends { kind: 'enrol' }
  ? Decision<{ readonly nodeName: string }>
  : Q extends { kind: 'may_open' }
    ? Decision<{ readonly jobId: string }>
    : Q extends { kind: 'claim_api' }
      ? Decision<{ readonly socketPath: string }>
      : Decision;

export interface WorkerCounters {
  readonly channels: number;
  readonly fromPeerBytes: number;
  readonly toPeerBytes: number;
}

export type FromWorker =
  | { readonly type: 'ready' }
  | {
      readonly type: 'question';
      readonly id: number;
      readonly connectionId: number;
      readonly question: WorkerQuestion;
    }
  /** An enrolment counts as authenticated too: it stays for a moment and can do nothing. */
  | { readonly type: 'authenticated'; readonly connectionId: number }
  /** The node took its request for the hub's calls back, and keeps its connection. */
  | { readonly type: 'api_withdrawn'; readonly connectionId: number }
  | { readonly type: 'closed'; readonly connectionId: number; readonly reason: string }
  | { readonly type: 'refused'; readonly refusal: Refusal }
  | { readonly type: 'done'; readonly id: number }
  /** Regularly: the worker is alive, and this is what it has carried. */
  | { readonly type: 'alive'; readonly counters: WorkerCounters };
