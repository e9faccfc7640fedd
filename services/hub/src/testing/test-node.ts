import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import {
  NodeServiceService,
  toStatus,
  type ChangeTracking,
  type CheckVCenterResponse,
  type NodeServiceServer,
  type VCenterConnection,
  type VirtualMachine,
} from '@sendense/contracts';
import { SendenseError } from '@sendense/core';
import { silentLogger } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { enrol, generateEd25519Key, startTunnelClient, type TunnelClient } from '@sendense/tunnel';
import type { TestHub } from './test-hub.js';

export const THUMBPRINT = 'AB:'.repeat(31) + 'AB';
export const PASSWORD = 'correct horse battery staple 7f3a';

/** A node that is enrolled and connected for real, with a vCenter of the test's own making behind it. */
export class TestNode implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'sdn-'));
  readonly #server = new Server();
  readonly key = generateEd25519Key();
  readonly asked: VCenterConnection[] = [];
  vms: VirtualMachine[] = [];
  /** What its vCenter accepts. */
  password = PASSWORD;
  /** The answer about any VM. */
  changeTracking: ChangeTracking | SendenseError = { enabled: true, outcome: 'already_enabled' };
  /** Whether it leaves calls that need its vCenter without an answer. */
  silent = false;
  #client: TunnelClient | undefined;

  private constructor(
    readonly hub: TestHub,
    readonly name: string,
  ) {}

  static async connect(hub: TestHub, name = 'site-1'): Promise<TestNode> {
    const { body } = await hub.post('/api/v1/nodes', { name });
    const node = new TestNode(hub, name);
    try {
      await node.#serve();
      await node.enrol(String(body['enrolment_token']));
      await node.dial();
      return node;
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
  }

  async enrol(token: string): Promise<void> {
    const { tunnelAddress } = this.hub.hub;
    await enrol({ hub: tunnelAddress, token, privateKeyPem: this.key.privateKeyPem, log: silentLogger });
  }

  async dial(): Promise<void> {
    const { tunnelAddress, context } = this.hub.hub;
    this.#client = startTunnelClient({
      hub: { ...tunnelAddress, hostKeyFingerprint: context.tunnel.hostKeyFingerprint },
      nodeName: this.name,
      privateKeyPem: this.key.privateKeyPem,
      apiSocketPath: this.#socket,
      log: silentLogger,
    });
    await eventually('the node is online', async () => (await this.state()) === 'online');
  }

  async hangUp(): Promise<void> {
    await this.#client?.[Symbol.asyncDispose]();
    await eventually('the node is not online', async () => (await this.state()) !== 'online');
  }

  async state(): Promise<unknown> {
    return (await this.hub.get(`/api/v1/nodes/${this.name}`)).body['state'];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.[Symbol.asyncDispose]();
    this.#server.forceShutdown();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  get #socket(): string {
    return join(this.#folder, 'node.sock');
  }

  async #serve(): Promise<void> {
    this.#server.addService(NodeServiceService, {
      getNode: (_call, callback) =>
        callback(null, {
          name: this.name,
          version: '9.9.9',
          commit: 'abc',
          startedAt: new Date(),
          checks: [{ name: 'nbdkit', ok: false, detail: 'install it' }],
          runningJobs: 0,
        }),
      checkVCenter: ({ request }, callback) => {
        if (this.silent) return;
        try {
          callback(null, this.#checkVCenter(request.vcenter!));
        } catch (error) {
          callback(toStatus(error));
        }
      },
      enableChangeTracking: (_call, callback) => {
        if (this.changeTracking instanceof SendenseError) callback(toStatus(this.changeTracking));
        else callback(null, { changeTracking: this.changeTracking });
      },
      listVirtualMachines: ({ request }, callback) => {
        if (this.silent) return;
        const virtualMachines = this.vms.filter(({ moref }) => !request.moref || moref === request.moref);
        callback(null, { virtualMachines });
      },
    } as Partial<NodeServiceServer> as NodeServiceServer);
    await new Promise<void>((resolve, reject) =>
      this.#server.bindAsync(`unix:${this.#socket}`, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      ),
    );
  }

  #checkVCenter(vcenter: VCenterConnection): CheckVCenterResponse {
    this.asked.push(vcenter);
    const context = { endpoint: vcenter.endpoint, thumbprint_sha256: THUMBPRINT, thumbprint_sha1: 'AB' };
    if (vcenter.thumbprint === '')
      throw new SendenseError('vcenter_thumbprint_unconfirmed', 'not confirmed', { context });
    if (vcenter.thumbprint !== THUMBPRINT)
      throw new SendenseError('vcenter_thumbprint_mismatch', 'another certificate', { context });
    if (vcenter.password !== this.password)
      throw new SendenseError('vcenter_login_failed', 'user or password are wrong');
    return {
      product: 'Test vCenter',
      version: '8.0.3',
      apiVersion: '8.0.3.0',
      instanceUuid: 'u',
      thumbprintSha256: THUMBPRINT,
      thumbprintSha1: 'AB',
    };
  }
}

/** A VM with two disks, the second of which may not be backed up when `reason` says why. */
export function testVm(name: string, moref = 'vm-57', reason = ''): VirtualMachine {
  const disk = (key: number) => ({
    key,
    label: `Hard disk ${key - 1999}`,
    backingUuid: `uuid-${moref}-${key}`,
    backingFile: `[ds] ${moref}/${key}.vmdk`,
    datastore: 'ds',
    capacityBytes: 1n << 30n,
    controllerKey: 1000,
    unitNumber: key - 2000,
    thinProvisioned: true,
    unsupportedReason: key === 2001 ? reason : '',
  });
  return {
    moref,
    instanceUuid: `instance-${moref}`,
    name,
    powerState: 'poweredOn',
    toolsStatus: 'guestToolsRunning',
    hostMoref: 'host-1',
    hostName: 'esx1',
    guestFullName: 'Debian',
    changeTrackingSupported: true,
    changeTrackingEnabled: true,
    snapshotCount: 0,
    hardwareVersion: 'vmx-19',
    disks: [disk(2000), disk(2001)],
  };
}
