import type { Page, PageRequest } from './paging.js';

export interface AuditEvent {
  /** `backup.start`, `node.enrol`, `tunnel.refused`, … */
  readonly action: string;
  /** `token:<id>`, `node:<name>`, `hub`, `anonymous` */
  readonly actor: string;
  readonly outcome: 'ok' | 'refused' | 'failed';
  /** What it was done to: `backup`, `node`, `repository`, … and its id or name. */
  readonly subjectType?: string;
  readonly subjectId?: string;
  readonly remoteAddress?: string;
  /** Never a secret. */
  readonly detail?: Readonly<Record<string, string | number | boolean>>;
}

export interface AuditEventRecord {
  /** 1, 2, 3, … */
  readonly id: number;
  readonly at: Date;
  readonly action: string;
  readonly actor: string;
  readonly outcome: 'ok' | 'refused' | 'failed';
  readonly subjectType: string | undefined;
  readonly subjectId: string | undefined;
  readonly remoteAddress: string | undefined;
  readonly detail: Readonly<Record<string, string | number | boolean>>;
}

/** Only ever appended to. */
export class Audit {
  async append(_event: AuditEvent): Promise<AuditEventRecord> {
    throw new Error('not built yet');
  }
  /** Newest first. */
  async list(
    _o?: PageRequest & {
      action?: string;
      actor?: string;
      subjectType?: string;
      subjectId?: string;
      since?: Date;
    },
  ): Promise<Page<AuditEventRecord>> {
    throw new Error('not built yet');
  }
}
