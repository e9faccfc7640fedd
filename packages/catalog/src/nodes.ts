export interface NodeCheckRecord {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** Whether a node is connected now is not in the catalogue: the tunnel knows it. */
export type NodeStatus =
  /** Waits for its enrolment token to be used. */
  | { readonly state: 'pending' }
  | { readonly state: 'enrolled'; readonly publicKey: string; readonly enrolledAt: Date }
  | { readonly state: 'revoked'; readonly revokedAt: Date };

export type NodeRecord = NodeStatus & {
  /** `/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/` */
  readonly name: string;
  readonly createdAt: Date;
  readonly version: string | undefined;
  readonly commit: string | undefined;
  readonly lastSeenAt: Date | undefined;
  /** What GetNode answered last. */
  readonly checks: readonly NodeCheckRecord[];
};

export interface IssuedEnrolmentToken {
  /** The only time that it is seen: the catalogue keeps its hash. */
  readonly secret: string;
  readonly expiresAt: Date;
}

export type EnrolmentResult =
  | { readonly accepted: true; readonly nodeName: string }
  | { readonly accepted: false; readonly reason: 'unknown' | 'expired' | 'used' | 'revoked' };

export class Nodes {
  /** @throws `already_exists`, `invalid_argument` for a bad name */
  async create(_name: string): Promise<NodeRecord> {
    throw new Error('not built yet');
  }
  async list(): Promise<NodeRecord[]> {
    throw new Error('not built yet');
  }
  async find(_name: string): Promise<NodeRecord | undefined> {
    throw new Error('not built yet');
  }
  /** @throws `node_not_found` */
  async get(_name: string): Promise<NodeRecord> {
    throw new Error('not built yet');
  }
  /**
   * Makes a one-time token; earlier unused ones of this node are void. An enrolled node keeps its key until the new one is
   * used; a revoked node becomes pending. @throws `node_not_found`
   */
  async issueEnrolmentToken(_name: string, _o: { lifetimeMs: number }): Promise<IssuedEnrolmentToken> {
    throw new Error('not built yet');
  }
  /** Uses a token up and makes `publicKey` the node's key, both or neither. Of two at the same time one wins. */
  async enrol(_o: { secret: string; publicKey: string }): Promise<EnrolmentResult> {
    throw new Error('not built yet');
  }
  /** Records what the node last said of itself. @throws `node_not_found` */
  async seen(
    _name: string,
    _o?: { version?: string; commit?: string; checks?: readonly NodeCheckRecord[] },
  ): Promise<void> {
    throw new Error('not built yet');
  }
  /** Its key and tokens are void from now on. @throws `node_not_found` */
  async revoke(_name: string): Promise<NodeRecord> {
    throw new Error('not built yet');
  }
  /** Forgets a node that no vCenter uses. @throws `node_not_found`, `conflict` */
  async remove(_name: string): Promise<void> {
    throw new Error('not built yet');
  }
}
