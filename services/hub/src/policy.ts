import type { Catalog } from '@sendense/catalog';
import type { Logger } from '@sendense/runtime';
import type {
  AuthenticationRequest,
  Decision,
  EnrolmentRequest,
  OpenRequest,
  Refusal,
  TunnelPolicy,
} from '@sendense/tunnel';
import type { AuditTrail } from './audit-trail.js';
import type { Nodes } from './nodes/nodes.js';
import type { BackupRuns } from './runs/index.js';

const REFUSED_ENROLMENT = {
  unknown: 'this enrolment token is not known, or a newer one was made',
  expired: 'the enrolment token has expired: make a new one with `sendense node token`',
  used: 'the enrolment token was used already: make a new one with `sendense node token`',
  key_in_use:
    'another node has this key: remove the file id_ed25519 in its data directory, so that it makes a new one',
} as const;

export interface PolicyOptions {
  readonly catalog: Catalog;
  readonly runs: Pick<BackupRuns, 'mayOpen' | 'mayOpenLane' | 'nodeConnected'>;
  readonly nodes: Pick<Nodes, 'connected'>;
  readonly audit: AuditTrail;
  readonly log: Logger;
}

/** What the tunnel may let in: enrolled nodes, and of them only the ports of their own running jobs. */
export class HubTunnelPolicy implements TunnelPolicy {
  constructor(private readonly options: PolicyOptions) {}

  async authenticate({ nodeName, jobId, publicKey }: AuthenticationRequest): Promise<Decision> {
    const node = await this.options.catalog.nodes.find(nodeName);
    if (!node) return refuse(`there is no node ${nodeName}`);
    if (node.state === 'pending') return refuse(`node ${nodeName} is not enrolled`);
    if (node.state === 'revoked') return refuse(`node ${nodeName} was revoked`);
    if (node.publicKey !== publicKey) return refuse(`this is not the key of node ${nodeName}`);
    if (jobId !== undefined && !this.options.runs.mayOpenLane(nodeName, jobId))
      return refuse(`job ${jobId} does not run on node ${nodeName}`);
    return { allowed: true };
  }

  async enrol(request: EnrolmentRequest): Promise<Decision<{ readonly nodeName: string }>> {
    const { secret, publicKey, remoteAddress } = request;
    const result = await this.options.catalog.nodes.enrol({ secret, publicKey });
    if (!result.accepted) return refuse(REFUSED_ENROLMENT[result.reason]);
    await this.options.audit.record({
      action: 'node.enrol',
      actor: `node:${result.nodeName}`,
      outcome: 'ok',
      subjectType: 'node',
      subjectId: result.nodeName,
      remoteAddress,
    });
    return { allowed: true, nodeName: result.nodeName };
  }

  async mayOpen(request: OpenRequest): Promise<Decision<{ readonly jobId: string }>> {
    return this.options.runs.mayOpen(request);
  }

  refused({ what, nodeName, detail, remoteAddress }: Refusal): void {
    this.options.log.warn({ what, nodeName, detail, remoteAddress }, 'the tunnel refused something');
    this.options.audit.recordLater({
      action: 'tunnel.refused',
      actor: nodeName === undefined ? 'anonymous' : `node:${nodeName}`,
      outcome: 'refused',
      remoteAddress,
      detail: { what, detail },
    });
  }

  nodeConnected({ nodeName, remoteAddress }: { nodeName: string; remoteAddress: string }): void {
    this.options.log.info({ nodeName, remoteAddress }, 'node connected');
    this.#record('node.connected', nodeName, { remoteAddress });
    this.options.nodes.connected(nodeName);
    this.options.runs.nodeConnected(nodeName);
  }

  nodeDisconnected({ nodeName, reason }: { nodeName: string; reason: string }): void {
    this.options.log.warn({ nodeName, reason }, 'node disconnected');
    this.#record('node.disconnected', nodeName, { detail: { reason } });
  }

  #record(
    action: string,
    nodeName: string,
    more: { remoteAddress?: string; detail?: Record<string, string> },
  ): void {
    const subject = { subjectType: 'node', subjectId: nodeName };
    this.options.audit.recordLater({ action, actor: `node:${nodeName}`, outcome: 'ok', ...subject, ...more });
  }
}

function refuse(reason: string): { readonly allowed: false; readonly reason: string } {
  return { allowed: false, reason };
}
