import type { Catalog, VcenterRecord, VmRecord } from '@sendense/catalog';
import type { CheckVCenterResponse, VirtualMachine } from '@sendense/contracts';
import { SendenseError } from '@sendense/core';
import type { NodeAccess } from '../runs/index.js';
import { given } from '../schemas/given.js';
import { foundTracking, unknownTracking } from './change-tracking.js';
import { toDiscoveredVm } from './discovered-vm.js';
import { withStoredLogin } from './stored-login.js';

export interface NewVcenter {
  readonly name: string;
  readonly nodeName: string;
  readonly endpoint: string;
  readonly username: string;
  readonly password: string;
  /** SHA-256 or SHA-1 that the operator compared; undefined to be shown the one presented. */
  readonly thumbprint: string | undefined;
}

/** What is given replaces what is stored. */
export interface VcenterUpdate {
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly thumbprint?: string | undefined;
}

export interface FoundVm {
  readonly vm: VirtualMachine;
  /** Set when it is protected. */
  readonly contextId: string | undefined;
}

/** The vCenters and what they show, always asked through the node that stands next to them. */
export class Vcenters {
  constructor(
    private readonly catalog: Catalog,
    private readonly nodes: Pick<NodeAccess, 'client'>,
  ) {}

  /**
   * Stores how to reach a vCenter, after a login that worked.
   *
   * @throws `vcenter_thumbprint_unconfirmed` with the certificate presented when none was given; `node_not_found`,
   *   `node_offline`, `already_exists`, and what the vCenter answers
   */
  async add(request: NewVcenter): Promise<VcenterRecord> {
    const { thumbprint = '', ...rest } = request;
    await this.catalog.nodes.get(rest.nodeName);
    await this.#refuseTaken(rest.name);
    const { endpoint, username, password } = rest;
    // Without a thumbprint the node only looks at the certificate and refuses: no password leaves it.
    await this.nodes.client(rest.nodeName).checkVCenter({ endpoint, username, password, thumbprint });
    return this.catalog.vcenters.create({ ...rest, thumbprint });
  }

  /**
   * Changes how to log in, after a login with the new that worked; until then the old stays. Running backups go on with
   * what they began with.
   *
   * @throws `invalid_argument` when nothing is given; `not_found`, `credentials_unreadable` (unless a password is given),
   *   `node_offline`, and what the vCenter answers
   */
  async update(id: string, { username, password, thumbprint }: VcenterUpdate): Promise<VcenterRecord> {
    const change = given({ username, password, thumbprint });
    if (Object.keys(change).length === 0)
      throw new SendenseError(
        'invalid_argument',
        'there is nothing to change: give username, password or thumbprint',
      );
    const { nodeName, endpoint, ...stored } = await this.catalog.vcenters.get(id);
    await this.nodes.client(nodeName).checkVCenter({
      endpoint,
      username: username ?? stored.username,
      // A stored password that cannot be read any more is replaced by one that is given.
      password: password ?? (await this.catalog.vcenters.connection(id)).password,
      thumbprint: thumbprint ?? stored.thumbprint,
    });
    return this.catalog.vcenters.update(id, change);
  }

  /** Logs in with what is stored. @throws `not_found`, `node_offline`, and what the vCenter answers */
  async check(id: string): Promise<CheckVCenterResponse> {
    const { nodeName, endpoint, username, password, thumbprint } = await this.catalog.vcenters.connection(id);
    return withStoredLogin(id, () =>
      this.nodes.client(nodeName).checkVCenter({ endpoint, username, password, thumbprint }),
    );
  }

  /** The VMs that it has now. @throws as {@link check} */
  async discover(id: string): Promise<FoundVm[]> {
    const found = await this.#list(id);
    const contexts = await this.#contextsOf(id);
    return found.map((vm) => ({ vm, contextId: contexts.get(vm.instanceUuid) }));
  }

  /**
   * Puts one VM under protection, and changed block tracking on, so that its second backup can be an incremental. A VM
   * that cannot have it is protected all the same; the record says why.
   *
   * @throws `vm_not_found`, `conflict` when several have the name, `already_exists` when it is protected already
   */
  async protect(id: string, which: { readonly name?: string; readonly moref?: string }): Promise<VmRecord> {
    const candidates = await this.#list(id, which.moref);
    const matching = candidates.filter((vm) =>
      which.moref === undefined ? vm.name === which.name : vm.moref === which.moref,
    );
    const [vm, another] = matching;
    const shown = which.moref ?? which.name ?? '';
    if (!vm)
      throw new SendenseError(
        'vm_not_found',
        `vCenter ${id} shows no VM '${shown}' to this user: check the name, and the user's privileges there`,
        { context: { vcenter_id: id } },
      );
    if (another)
      throw new SendenseError(
        'conflict',
        `vCenter ${id} has ${matching.length} VMs named '${shown}' (${matching.map(({ moref }) => moref).join(', ')}): name the one by its moref`,
        { context: { vcenter_id: id } },
      );
    const record = await this.catalog.vms.protect(id, toDiscoveredVm(vm));
    await this.#track(id, record);
    return this.catalog.vms.get(record.contextId);
  }

  async #track(id: string, { contextId, moref, instanceUuid, name }: VmRecord): Promise<void> {
    const { nodeName, endpoint, username, password, thumbprint } = await this.catalog.vcenters.connection(id);
    const vcenter = { endpoint, username, password, thumbprint };
    const found = await this.nodes
      .client(nodeName)
      .enableChangeTracking(vcenter, { moref, instanceUuid, name })
      .then(foundTracking, unknownTracking);
    if (found) await this.catalog.vms.recordChangeTracking(contextId, found);
  }

  async #list(id: string, moref?: string): Promise<VirtualMachine[]> {
    const { nodeName, endpoint, username, password, thumbprint } = await this.catalog.vcenters.connection(id);
    const filter = moref === undefined ? {} : { moref };
    return withStoredLogin(id, () =>
      this.nodes.client(nodeName).listVirtualMachines({ endpoint, username, password, thumbprint }, filter),
    );
  }

  async #refuseTaken(name: string): Promise<void> {
    const taken = (await this.catalog.vcenters.list()).find((other) => other.name === name);
    if (taken)
      throw new SendenseError(
        'already_exists',
        `vCenter ${taken.id} already has the name '${name}': choose another, or remove that one first`,
        { context: { vcenter_id: taken.id } },
      );
  }

  /** Context ids of the vCenter's protected VMs by instance uuid. */
  async #contextsOf(vcenterId: string): Promise<Map<string, string>> {
    const contexts = new Map<string, string>();
    let cursor: string | undefined;
    do {
      const page = await this.catalog.vms.list({ vcenterId, limit: 1000, ...(cursor ? { cursor } : {}) });
      for (const vm of page.items) contexts.set(vm.instanceUuid, vm.contextId);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    return contexts;
  }
}
