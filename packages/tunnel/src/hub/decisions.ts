import type { Logger } from '@sendense/runtime';
import type { Connections, HubConnection } from './connections.js';
import type { ControlConnections } from './control-connections.js';
import type { TunnelLimits } from './limits.js';
import type { WorkerAnswer, WorkerQuestion } from './messages.js';
import type { Decision, TunnelPolicy } from './policy.js';

type QuestionOf<K extends WorkerQuestion['kind']> = Extract<WorkerQuestion, { kind: K }>;

/**
 * Answers the workers. A policy takes its time to answer, and a right can be taken away meanwhile: an answer that was
 * overtaken by a revocation is turned into a refusal here, because the revocation itself found nothing to close yet.
 */
export class Decisions {
  readonly #pending = new Set<{ readonly nodes: Set<string>; readonly jobs: Set<string> }>();

  constructor(
    private readonly policy: TunnelPolicy,
    private readonly connections: Connections,
    private readonly controls: ControlConnections,
    private readonly limits: TunnelLimits,
    private readonly log: Logger,
  ) {}

  nodeRevoked(nodeName: string): void {
    for (const { nodes } of this.#pending) nodes.add(nodeName);
  }

  jobRevoked(jobId: string): void {
    for (const { jobs } of this.#pending) jobs.add(jobId);
  }

  /** Never rejects: what cannot be decided is refused. */
  async answer(connection: HubConnection, question: WorkerQuestion): Promise<WorkerAnswer> {
    const revoked = { nodes: new Set<string>(), jobs: new Set<string>() };
    this.#pending.add(revoked);
    try {
      const answer = await this.#decide(connection, question);
      const overtaken = namesIn(question, answer).some(
        (name) => revoked.nodes.has(name) || revoked.jobs.has(name),
      );
      if (answer.allowed && overtaken) return { allowed: false, reason: 'it was revoked a moment ago' };
      if (answer.allowed && question.kind === 'authenticate') return this.#letIn(connection, question);
      return answer;
    } catch (error) {
      this.log.error({ question: question.kind, error }, 'the tunnel could not get a decision');
      return { allowed: false, reason: 'the hub could not decide: see its log' };
    } finally {
      this.#pending.delete(revoked);
    }
  }

  async #decide(connection: HubConnection, question: WorkerQuestion): Promise<WorkerAnswer> {
    const { remoteAddress } = connection;
    switch (question.kind) {
      case 'authenticate': {
        const { nodeName, jobId, publicKey } = question;
        return this.policy.authenticate({ nodeName, jobId, publicKey, remoteAddress });
      }
      case 'enrol': {
        const { secret, publicKey } = question;
        return this.policy.enrol({ secret, publicKey, remoteAddress });
      }
      case 'may_open': {
        const { nodeName, jobId, host, port } = question;
        return this.policy.mayOpen({ nodeName, jobId, host, port });
      }
      case 'claim_api':
        return this.controls.claim(connection);
      case 'publish_api':
        return this.controls.publish(connection);
      default:
        return question satisfies never;
    }
  }

  #letIn(connection: HubConnection, { nodeName, jobId }: QuestionOf<'authenticate'>): Decision {
    const most = this.limits.maxConnectionsPerNode;
    if (this.connections.ofNode(nodeName).length >= most) {
      return { allowed: false, reason: `the node has ${most} connections already` };
    }
    connection.user = { nodeName, jobId };
    return { allowed: true };
  }
}

/** The nodes and jobs whose revocation takes this answer back. */
function namesIn(question: WorkerQuestion, answer: WorkerAnswer): string[] {
  if (question.kind !== 'authenticate' && question.kind !== 'may_open') return [];
  const names = [question.nodeName];
  if (question.jobId !== undefined) names.push(question.jobId);
  if (answer.allowed && 'jobId' in answer) names.push(answer.jobId);
  return names;
}
