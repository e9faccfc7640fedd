import type { Catalog } from '@sendense/catalog';
import { toSendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';

interface Amount {
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

/** How far a task is, in the catalogue: the first news at once, then the newest at most once in `everyMs`. */
export class TaskProgress implements AsyncDisposable {
  #newest: Amount | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(
    private readonly taskId: string,
    private readonly options: {
      readonly tasks: Pick<Catalog['tasks'], 'recordProgress'>;
      readonly everyMs: number;
      readonly log: Logger;
    },
  ) {}

  report(bytesDone: number, bytesTotal: number): void {
    this.#newest = { bytesDone, bytesTotal };
    if (this.#timer === undefined) this.#write();
  }

  /** Writes what is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#flush();
    await this.#writing;
  }

  #write(): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#newest) this.#write();
    }, this.options.everyMs).unref();
    this.#flush();
  }

  #flush(): void {
    const amount = this.#newest;
    if (!amount) return;
    this.#newest = undefined;
    this.#writing = this.#writing.then(() => this.#record(amount));
  }

  async #record(amount: Amount): Promise<void> {
    try {
      await this.options.tasks.recordProgress(this.taskId, amount);
    } catch (error) {
      // The work goes on; the next news may be written again.
      this.options.log.warn({ error: toSendenseError(error).message }, 'progress could not be written');
    }
  }
}
