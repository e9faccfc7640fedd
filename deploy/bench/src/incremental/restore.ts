import { rmSync } from 'node:fs';
import { SendenseError } from '@sendense/core';
import { QemuImg } from '@sendense/qemu';
import { runCommand } from '@sendense/runtime';

/** Seconds. */
export interface Restores {
  readonly chain: readonly number[];
  readonly full: readonly number[];
}

interface RestorePlan {
  /** The newest image of the chain, and the image of a full with the same content. */
  readonly images: { readonly chain: string; readonly full: string };
  /** Files of the chain. */
  readonly links: number;
  /** Restored to, and removed each time. */
  readonly into: string;
  readonly times: number;
}

/** The command of docs/restore-by-hand.md, for both in turns, once each before it counts. @throws `internal` when they differ */
export async function measureRestores({ images, links, into, times }: RestorePlan): Promise<Restores> {
  const files = await new QemuImg().backingChain(images.chain);
  if (files.length !== links)
    throw new SendenseError('internal', `the chain has ${files.length} files instead of ${links}`);
  const compare = ['compare', '-q', '-f', 'qcow2', '-F', 'qcow2', images.chain, images.full];
  await qemuImg(compare, 'comparing the chain with the full');
  const restores = { chain: [] as number[], full: [] as number[] };
  for (let round = 0; round <= times; round++) {
    for (const kind of ['chain', 'full'] as const) {
      const restored = await restore(images[kind], into);
      if (round > 0) restores[kind].push(restored);
    }
  }
  return restores;
}

async function restore(image: string, into: string): Promise<number> {
  rmSync(into, { force: true });
  const startedAt = performance.now();
  await qemuImg(['convert', '-f', 'qcow2', '-O', 'raw', image, into], `restoring ${image}`);
  const seconds = (performance.now() - startedAt) / 1000;
  rmSync(into);
  return seconds;
}

function qemuImg(args: readonly string[], what: string) {
  return runCommand('qemu-img', args, {
    code: 'qemu_img_failed',
    what,
    missingHint: 'install qemu-utils',
  });
}
