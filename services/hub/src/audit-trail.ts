import type { AuditEvent, Catalog } from '@sendense/catalog';
import { toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';

/** Writes to the audit trail. What cannot be written is logged in its place: the trail never stops the work itself. */
export class AuditTrail implements AsyncDisposable {
  readonly #writing = new Set<Promise<void>>();

  constructor(
    private readonly catalog: Catalog,
    private readonly log: Logger,
  ) {}

  /** Never rejects. */
  async record(event: AuditEvent): Promise<void> {
    const write = this.#write(event);
    this.#writing.add(write);
    await write;
    this.#writing.delete(write);
  }

  /** For callers that cannot wait; what is under way is waited for at the end. */
  recordLater(event: AuditEvent): void {
    void this.record(event);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#writing);
  }

  async #write(event: AuditEvent): Promise<void> {
    try {
      await this.catalog.audit.append(event);
    } catch (error) {
      this.log.error(
        { auditEvent: event, error: toSendenseError(error).message },
        'an audit event could not be stored',
      );
    }
  }
}
