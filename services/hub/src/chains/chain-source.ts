import { join } from 'node:path';
import type { NbdClient, VerifySource } from '@sendense/nbd';
import { DirectChain } from '@sendense/qemu';
import type { Logger } from '@sendense/runtime';
import type { DiskChain } from './structure.js';

export interface ChainSourceOptions {
  /** Absolute. */
  readonly repositoryPath: string;
  /** Of a read-only export of the same chain; it stays its opener's. */
  readonly client: NbdClient;
  readonly log: Logger;
}

/**
 * A disk read straight from the images of its chain where that is possible, and through qemu where it is not. qemu-nbd
 * serves the same chain meanwhile: it keeps qemu's locks on the images, and says what is to be made of whatever is not
 * plain.
 */
export async function openChainSource(
  chain: DiskChain,
  { repositoryPath, client, log }: ChainSourceOptions,
): Promise<VerifySource & AsyncDisposable> {
  const direct = await DirectChain.open({
    paths: chain.images.map(({ imagePath }) => join(repositoryPath, imagePath)),
    readByQemu: (offset, into) => client.read(offset, into.length, into),
  });
  const { exportName } = client;
  if (typeof direct === 'string' || direct.sizeBytes !== client.export.sizeBytes) {
    const reason = typeof direct === 'string' ? direct : 'the sizes differ';
    log.info({ exportName, reason }, 'the chain is read through qemu');
    if (typeof direct !== 'string') await direct[Symbol.asyncDispose]();
    return {
      ...{ exportName, export: client.export },
      blockStatus: (offset, length) => client.blockStatus(offset, length),
      read: (offset, length, into) => client.read(offset, length, into),
      abandon: (reason) => client.abandon(reason),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }
  return {
    ...{ exportName, export: { sizeBytes: direct.sizeBytes, hasBlockStatus: true } },
    blockStatus: async (offset) => {
      const extents = await direct.extentsFrom(offset);
      return extents.map(({ offset, length, kind }) => ({
        offset,
        length,
        hole: false,
        zero: kind === 'zero',
      }));
    },
    read: async (offset, length, into) => {
      const data = into.subarray(0, length);
      try {
        await direct.read(offset, data);
        return data;
      } catch {
        // qemu says what is wrong there, or that it was only for a moment.
        return client.read(offset, length, into);
      }
    },
    abandon: (reason) => client.abandon(reason),
    [Symbol.asyncDispose]: () => direct[Symbol.asyncDispose](),
  };
}
