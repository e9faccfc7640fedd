import { rmSync } from 'node:fs';
import { SendenseError } from '@sendense/core';
import { QemuImg } from '@sendense/qemu';
import { runCommand } from '@sendense/runtime';
import type { Constellation } from '@sendense/stage';

/** Seconds. */
export interface Times {
  readonly chain: readonly number[];
  readonly full: readonly number[];
}

export interface Restores {
  /** By the hub, as users are told: from when it begins to when the files are whole, every block checked. */
  readonly exported: Times;
  /** By the command of docs/restore-by-hand.md. */
  readonly byHand: Times;
}

interface RestorePlan {
  readonly pair: Constellation;
  /** The newest restore point of the chain and a full with the same content, and their images. */
  readonly points: Readonly<Record<Kind, { readonly id: string; readonly image: string }>>;
  /** Files of the chain. */
  readonly links: number;
  /** Restored to by hand, and removed each time. */
  readonly into: string;
  readonly times: number;
}

type Kind = 'chain' | 'full';

interface ExportTask {
  readonly task_id: string;
  readonly state: string;
  readonly started_at: string;
  readonly ended_at: string;
  readonly result: { readonly path: string; readonly disks: readonly { readonly file: string }[] };
}

/** Both of both in turns, once each before it counts. @throws `internal` when their contents differ */
export async function measureRestores(plan: RestorePlan): Promise<Restores> {
  const { points, links, into, times } = plan;
  const files = await new QemuImg().backingChain(points.chain.image);
  if (files.length !== links)
    throw new SendenseError('internal', `the chain has ${files.length} files instead of ${links}`);
  await compare('qcow2', points.chain.image, points.full.image);
  const seconds = { exported: { chain: [], full: [] }, byHand: { chain: [], full: [] } } satisfies Record<
    string,
    Record<Kind, number[]>
  > as Record<'exported' | 'byHand', Record<Kind, number[]>>;
  for (let round = 0; round <= times; round++) {
    for (const kind of ['chain', 'full'] as const) {
      const exported = await exportPoint(plan, kind, round === 0);
      const byHand = await convert(points[kind].image, into);
      if (round === 0) continue;
      seconds.exported[kind].push(exported);
      seconds.byHand[kind].push(byHand);
    }
  }
  return seconds;
}

async function exportPoint({ pair, points }: RestorePlan, kind: Kind, check: boolean): Promise<number> {
  await pair.cli('restore-point', 'export', points[kind].id, '--all', '--to', `restored-${kind}`);
  const [task] = await pair.cli<ExportTask[]>('task', 'list', '--kind', 'export', '--limit', '1');
  if (task?.state !== 'completed')
    throw new SendenseError('internal', `${task?.task_id ?? 'no export'} is ${task?.state ?? 'there'}`);
  const { path, disks } = task.result;
  if (check) await compare('raw', points[kind].image, `${path}/${disks[0]?.file ?? ''}`);
  rmSync(path, { recursive: true });
  return (Date.parse(task.ended_at) - Date.parse(task.started_at)) / 1000;
}

async function convert(image: string, into: string): Promise<number> {
  rmSync(into, { force: true });
  const startedAt = performance.now();
  await qemuImg(['convert', '-f', 'qcow2', '-O', 'raw', image, into], `restoring ${image}`);
  const seconds = (performance.now() - startedAt) / 1000;
  rmSync(into);
  return seconds;
}

async function compare(format: 'qcow2' | 'raw', image: string, other: string): Promise<void> {
  await qemuImg(
    ['compare', '-q', '-f', 'qcow2', '-F', format, image, other],
    `comparing ${image} with ${other}`,
  );
}

function qemuImg(args: readonly string[], what: string) {
  return runCommand('qemu-img', args, {
    code: 'qemu_img_failed',
    what,
    missingHint: 'install qemu-utils',
  });
}
