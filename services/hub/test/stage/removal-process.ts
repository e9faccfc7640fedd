import { toSendenseError } from '@sendense/core';
import { silentLogger as log } from '@sendense/runtime';
import { removePoint } from '../../src/chains/remove-point.js';
import { OpenedStage } from './removal-stage.js';

/** What the process is told at its start, as JSON in its first argument. */
export interface RemovalProcessSpec {
  readonly folder: string;
  readonly contextId: string;
  readonly pointId: string;
  readonly qemuImg: string;
  readonly owner: string;
}

export type FromRemoval =
  { readonly step: string } | { readonly bytesDone: number } | { readonly ended: string };

/** A removal in a process of its own, to be killed. */
async function main(): Promise<void> {
  const { folder, contextId, pointId, qemuImg, owner } = JSON.parse(
    process.argv[2] ?? '',
  ) as RemovalProcessSpec;
  const send = (message: FromRemoval) => process.send?.(message);
  await using stage = await OpenedStage.open(folder, contextId, []);
  try {
    await removePoint(pointId, stage.ports(qemuImg, owner), {
      signal: new AbortController().signal,
      log,
      progress: (bytesDone) => void send({ bytesDone }),
      commit: () => undefined,
      onStep: (step) => void send({ step }),
    });
    send({ ended: 'removed' });
  } catch (error) {
    send({ ended: toSendenseError(error).message });
  }
}

await main();
