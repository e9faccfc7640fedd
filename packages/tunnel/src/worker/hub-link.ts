import type { Socket } from 'node:net';
import type { AnswerTo, FromWorker, ToWorker, WorkerAnswer, WorkerQuestion } from '../hub/messages.js';

/** A message from the hub process, with what travelled beside it. */
export type Receive = (message: Exclude<ToWorker, { type: 'answer' }>, socket: Socket | undefined) => void;

/** The worker's end of the IPC channel: every decision is asked for here. */
export class HubLink {
  readonly #waiting = new Map<number, (answer: WorkerAnswer) => void>();
  #lastId = 0;

  constructor(receive: Receive) {
    process.on('message', (message: ToWorker, handle) => {
      if (message.type !== 'answer') {
        receive(message, handle as Socket | undefined);
        return;
      }
      this.#waiting.get(message.id)?.(message.answer);
      this.#waiting.delete(message.id);
    });
  }

  tell(message: FromWorker): void {
    // A worker without its hub ends at once: there is nobody left who could want the message.
    if (process.connected) process.send?.(message);
  }

  /** Never rejects; waits as long as the hub process lives. */
  async ask<Q extends WorkerQuestion>(connectionId: number, question: Q): Promise<AnswerTo<Q>> {
    const id = ++this.#lastId;
    const answer = new Promise<WorkerAnswer>((resolve) => this.#waiting.set(id, resolve));
    this.tell({ type: 'question', id, connectionId, question });
    return (await answer) as AnswerTo<Q>;
  }
}
