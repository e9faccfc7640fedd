export type Decision<Allowed extends object = object> =
  ({ readonly allowed: true } & Allowed) | { readonly allowed: false; readonly reason: string };

/** What a peer asked for and did not get. */
export type RefusedThing =
  | 'authentication'
  | 'enrolment'
  | 'channel'
  | 'shell'
  | 'exec'
  | 'subsystem'
  | 'forward'
  | 'agent'
  | 'x11'
  | 'pty'
  | 'env'
  | 'other';

export interface Refusal {
  readonly what: RefusedThing;
  /** Undefined before authentication. */
  readonly nodeName?: string;
  /** One printable line of bounded length. */
  readonly detail: string;
  readonly remoteAddress: string;
}

export interface AuthenticationRequest {
  readonly nodeName: string;
  /** Undefined for a control connection or a stock client. */
  readonly jobId: string | undefined;
  /** `ssh-ed25519 AAAA…`; the peer has proven that it holds the private key. */
  readonly publicKey: string;
  readonly remoteAddress: string;
}

export interface EnrolmentRequest {
  readonly secret: string;
  readonly publicKey: string;
  readonly remoteAddress: string;
}

export interface OpenRequest {
  readonly nodeName: string;
  /** Undefined when the connection is not a lane: then any running job of the node may hold the port. */
  readonly jobId: string | undefined;
  /** Always `127.0.0.1` or `localhost`: other hosts are refused before the policy is asked. */
  readonly host: string;
  readonly port: number;
}

/** Every decision of the tunnel is the hub's: the workers that terminate SSH ask it. A rejection refuses. */
export interface TunnelPolicy {
  authenticate(request: AuthenticationRequest): Promise<Decision>;
  enrol(request: EnrolmentRequest): Promise<Decision<{ readonly nodeName: string }>>;
  /** The job that holds the port's lease: its channels end with {@link TunnelServer.revokeJob}. */
  mayOpen(request: OpenRequest): Promise<Decision<{ readonly jobId: string }>>;
  /** For the audit trail. Called a bounded number of times a second: what is left out is counted in a later one. */
  refused(event: Refusal): void;
  nodeConnected(event: { readonly nodeName: string; readonly remoteAddress: string }): void;
  nodeDisconnected(event: { readonly nodeName: string; readonly reason: string }): void;
}
