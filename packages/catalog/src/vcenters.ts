/** Table `vmware_credentials`. The password is not in it: see {@link Vcenters.connection}. */
export interface VcenterRecord {
  /** `vcenter-<slug of the name>` */
  readonly id: string;
  readonly name: string;
  readonly nodeName: string;
  /** `host` or `host:port` */
  readonly endpoint: string;
  readonly username: string;
  /** The pinned certificate, as the operator confirmed it. */
  readonly thumbprint: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** With the secret, for one call to the node. Never log it. */
export interface VcenterConnection {
  readonly vcenterId: string;
  readonly nodeName: string;
  readonly endpoint: string;
  readonly username: string;
  readonly password: string;
  readonly thumbprint: string;
}

export class Vcenters {
  /** @throws `already_exists` (name), `node_not_found` */
  async create(_o: {
    name: string;
    nodeName: string;
    endpoint: string;
    username: string;
    password: string;
    thumbprint: string;
  }): Promise<VcenterRecord> {
    throw new Error('not built yet');
  }
  async list(): Promise<VcenterRecord[]> {
    throw new Error('not built yet');
  }
  async find(_id: string): Promise<VcenterRecord | undefined> {
    throw new Error('not built yet');
  }
  /** @throws `not_found` */
  async get(_id: string): Promise<VcenterRecord> {
    throw new Error('not built yet');
  }
  /** @throws `not_found` */
  async update(
    _id: string,
    _o: { endpoint?: string; username?: string; password?: string; thumbprint?: string; nodeName?: string },
  ): Promise<VcenterRecord> {
    throw new Error('not built yet');
  }
  /** Everything needed to log in. @throws `not_found`, `credentials_unreadable` naming the fix */
  async connection(_id: string): Promise<VcenterConnection> {
    throw new Error('not built yet');
  }
  /** The same, looked up from a VM's context. @throws `vm_not_protected`, `credentials_missing`, `credentials_unreadable` */
  async connectionOf(_contextId: string): Promise<VcenterConnection> {
    throw new Error('not built yet');
  }
  /**
   * Forgets the credentials. Contexts that used them stay, without (their backups then fail with `credentials_missing`).
   * @throws `not_found`, `conflict` while a backup of one of its VMs is running
   */
  async remove(_id: string): Promise<void> {
    throw new Error('not built yet');
  }
  /** Adds a new key and encrypts every password with it. @returns how many */
  async rotateKey(): Promise<number> {
    throw new Error('not built yet');
  }
}
