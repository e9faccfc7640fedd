import { toSendenseError } from '@sendense/core';
import type { BackupRequest } from '../../src/runs/index.js';
import { Spine, type SpineOptions } from './spine.js';

/** What the process is told at its start, as JSON in its first argument. */
export interface SpineProcessSpec {
  readonly nodeName: string;
  readonly socketPath: string;
  readonly options: SpineOptions & { readonly folder: string };
}

export type ToProcess = { readonly start: BackupRequest };
export type FromProcess =
  | { readonly ready: true }
  | { readonly started: string }
  | { readonly refused: { readonly code: string; readonly message: string } };

/** A hub's backup runs in a process of their own, to be killed. */
async function main(): Promise<void> {
  const { nodeName, socketPath, options } = JSON.parse(process.argv[2] ?? '') as SpineProcessSpec;
  const spine = await Spine.start({ name: nodeName, socketPath, connected: true }, options);
  const send = (message: FromProcess) => process.send?.(message);
  process.on('message', (message: ToProcess) => {
    spine.runs.start(message.start).then(
      ({ id }) => send({ started: id }),
      (error: unknown) => {
        const { code, message: text } = toSendenseError(error);
        send({ refused: { code, message: text } });
      },
    );
  });
  send({ ready: true });
}

await main();
