import { onlyImage, takeBackup, type TakenBackup } from '../backup-request.js';
import { measure, type How, type Watched } from '../measure.js';
import type { BenchOptions } from '../options.js';
import { startPrograms, startRelayedNode, type Programs } from '../programs.js';
import type { DelayingRelay } from '../relay.js';
import { ChangingVm } from './changing-vm.js';
import { measurePlanning } from './planning.js';
import { filesOnDisk, newBytes } from './repository-files.js';
import { measureRestores, type Restores } from './restore.js';
import { sizesFor, type Sizes } from './sizes.js';

const NODE = 'counted-node';
const VM = 'changing';

/** One incremental and what it cost. */
export interface Increment extends Watched {
  readonly copySeconds: number;
  readonly endToEndSeconds: number;
  /** Of TCP, between the node and the hub, everything included: data, acknowledgements, control, SSH. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Of the files that the repository has more than before. */
  readonly diskBytes: number;
}

export interface IncrementalResults {
  readonly sizes: Sizes;
  readonly changed: readonly Increment[];
  readonly unchanged: readonly Increment[];
  /** Seconds; the first is that of code which never ran. */
  readonly planning: readonly number[];
  readonly restores: Restores;
  /** Of the chain that was restored. */
  readonly increments: number;
}

/** The VM that changes, and what its backups are taken with. */
interface Ground extends Programs {
  readonly vm: ChangingVm;
  readonly relay: DelayingRelay;
}

/**
 * What incrementals cost. One VM, backed up through the hub's API by a node whose connections to the hub go through a
 * relay that counts their bytes: a full, incrementals with and without changes, more of them until the chain is long, and
 * a full of the same content.
 */
export async function measureIncrementals(
  options: BenchOptions,
  how: How,
  say: (text: string) => void,
): Promise<IncrementalResults> {
  const sizes = sizesFor(options.sizeMib, options.quick);
  await using programs = await startPrograms(options.directory, say);
  const planning = await measurePlanning(programs.lab, sizes.plannedExtents, options.repeat);
  say(
    `planning ${sizes.plannedExtents} extents: ${planning.map((seconds) => seconds.toFixed(2)).join(', ')} s`,
  );
  const { relay, vcenterId } = await startRelayedNode(programs, NODE);
  await using _relay = relay;
  say('writing the disk of the VM that changes');
  const vm = await ChangingVm.create(programs.lab, VM, sizes);
  await programs.pair.cli('vm', 'protect', VM, '--vcenter', vcenterId);
  const ground = { ...programs, vm, relay };

  await backUp(ground, 'full');
  // Not counted: the first of its kind.
  await increment(ground, sizes.blocksPerIncrement);
  let increments = 1;
  const take = async (title: string, blocks: number) => {
    const taken = await measure(async () => {
      increments++;
      return increment(ground, blocks);
    }, how);
    say(`incremental, ${title}: ${taken.endToEndSeconds.toFixed(2)} s`);
    return taken;
  };
  const changed: Increment[] = [];
  const unchanged: Increment[] = [];
  for (let round = 0; round < options.repeat; round++) {
    changed.push(await take('1 % changed', sizes.changedBlocks));
    unchanged.push(await take('nothing changed', 0));
  }
  const newest = await lengthen(ground, sizes, increments, say);
  const full = await backUp(ground, 'full');
  const restores = await measureRestores({
    pair: programs.pair,
    points: { chain: newest, full: pointOf(full) },
    links: 1 + newest.increments,
    into: programs.stage.path('work', 'restored.raw'),
    times: options.repeat,
  });
  return { sizes, increments: newest.increments, changed, unchanged, planning, restores };
}

/** Goes on until the chain is as long as it should be. */
async function lengthen(
  ground: Ground,
  sizes: Sizes,
  increments: number,
  say: (text: string) => void,
): Promise<{ readonly id: string; readonly image: string; readonly increments: number }> {
  say(`taking incrementals until there are ${sizes.increments}`);
  // One at least, whose image is asked for.
  for (let count = increments + 1; ; count++) {
    await ground.vm.change(sizes.blocksPerIncrement);
    const taken = await backUp(ground, 'incremental');
    if (count >= sizes.increments) return { ...pointOf(taken), increments: count };
  }
}

function pointOf({ backup }: TakenBackup): { readonly id: string; readonly image: string } {
  return { id: backup.backup_id, image: onlyImage(backup) };
}

/** @param blocks that the guest changes before */
async function increment(ground: Ground, blocks: number): Promise<Omit<Increment, keyof Watched>> {
  const { vm, relay, repositoryPath } = ground;
  await vm.change(blocks);
  const filesBefore = filesOnDisk(repositoryPath);
  const { fromClients, fromTarget } = relay.carried;
  const { copySeconds, endToEndSeconds } = await backUp(ground, 'incremental');
  return {
    copySeconds,
    endToEndSeconds,
    sentBytes: relay.carried.fromClients - fromClients,
    receivedBytes: relay.carried.fromTarget - fromTarget,
    diskBytes: newBytes(filesBefore, filesOnDisk(repositoryPath)),
  };
}

function backUp({ pair, repositoryId }: Programs, type: 'full' | 'incremental'): Promise<TakenBackup> {
  return takeBackup(pair, { vmName: VM, repositoryId, type });
}
