import { NODE_NAME, Stage, startLab, startPair, type Constellation } from '@sendense/stage';
import { previewRetention, verify, type PreviewFacts, type VerifyFacts } from './after.js';
import { backUp, isProven, type ProvenBackup } from './back-up.js';
import { guestWrites, inLab, snapshotList } from './guest.js';
import { makeGuestDisk, type GuestDisk } from './guest-disks.js';
import { nextSteps } from './next-steps.js';
import { countLeftovers } from './proof.js';

const VM = 'pgtest1';

/** What the demo's last line says: of the full beside `ok`, and then of what came after it. */
interface Facts extends Omit<ProvenBackup, 'writes'> {
  readonly ok: boolean;
  readonly snapshots_left: number;
  readonly processes_left: number;
  readonly leases_left: number;
  readonly change_tracking: string;
  readonly incremental: Omit<ProvenBackup, 'writes'>;
  readonly verify: VerifyFacts;
  readonly retention_preview: PreviewFacts;
}

/** @returns whether everything that the demo shows was true */
export async function runDemo(directory: string, keep: boolean): Promise<boolean> {
  const stage = await Stage.prepare(directory);
  try {
    say('making the guest disks: partition tables, ext4, files');
    const disks = [
      await makeGuestDisk(stage.path('work'), 'system', 102, 256),
      await makeGuestDisk(stage.path('work'), 'data', 5, 128),
    ];
    say('starting the lab (a simulated vCenter), the hub and the node');
    const lab = await startLab(stage);
    await createVm(stage, disks);
    const pair = await startPair(stage, lab);
    const { repositoryId, changeTracking } = await configure(stage, pair);
    const facts = await showEverything(stage, pair, repositoryId, disks);
    console.log(nextSteps(stage, pair, repositoryId, VM, keep));
    console.log(JSON.stringify({ ...facts, change_tracking: changeTracking } satisfies Facts));
    return facts.ok;
  } finally {
    if (!keep) await Stage.stop(directory);
  }
}

async function createVm(stage: Stage, disks: readonly GuestDisk[]): Promise<void> {
  await inLab(stage, 'vm', 'create', VM, ...disks.flatMap(({ sizeBytes }) => ['--disk', String(sizeBytes)]));
  for (const [index, { image }] of disks.entries()) {
    const where = ['--disk', String(2000 + index), '--offset', '0'];
    await inLab(stage, 'guest', 'write', VM, ...where, '--file', image);
  }
}

/** vCenter, protection and repository, as a person would with the CLI. */
async function configure(
  stage: Stage,
  pair: Constellation,
): Promise<{ readonly repositoryId: string; readonly changeTracking: string }> {
  const { lab, cli } = pair;
  const vcenter = await cli<{ vcenter_id: string }>(
    ...['vcenter', 'add', 'lab', '--node', NODE_NAME, '--endpoint', new URL(lab.endpoint).host],
    ...['--username', lab.username, '--password-file', lab.password_file],
    ...['--thumbprint', lab.thumbprint_sha256],
  );
  const vm = await cli<{ change_tracking: { state: string } }>(
    ...['vm', 'protect', VM, '--vcenter', vcenter.vcenter_id],
  );
  const path = stage.path('repository');
  const repository = await cli<{ repository_id: string }>('repository', 'add', 'main', '--path', path);
  return { repositoryId: repository.repository_id, changeTracking: vm.change_tracking.state };
}

async function showEverything(
  stage: Stage,
  pair: Constellation,
  repositoryId: string,
  [system, data]: readonly GuestDisk[],
): Promise<Omit<Facts, 'change_tracking'>> {
  // The guest writes the first half of its places while the full runs, the next ones between the two backups.
  const places = system?.fileContent ?? [];
  const common = { vm: VM, repositoryId };
  say(`backing up ${VM}, while its guest goes on writing`);
  const { writes, ...full } = await backUp(stage, pair, {
    ...{ ...common, type: 'full', overwrites: places.slice(0, 16) },
  });
  proven(full, `${writes} MiB`);

  say('the guest writes: 3 MiB of data and 1 MiB of zeros on one disk, 1 MiB of data on the other');
  for (const [index, offset] of places.slice(16, 20).entries())
    await guestWrites(stage, VM, { diskKey: 2000, offset, seed: index === 0 ? undefined : `${index}` });
  for (const offset of (data?.fileContent ?? []).slice(0, 1))
    await guestWrites(stage, VM, { diskKey: 2001, offset, seed: 'data' });
  say('what an incremental backup would do now, and then the backup');
  const plan = ['backup', 'plan', VM, '--repository', repositoryId, '--type', 'incremental'];
  await stage.show('sendense', plan, pair.cliEnvironment);
  const { writes: more, ...incremental } = await backUp(stage, pair, {
    ...{ ...common, type: 'incremental', overwrites: places.slice(20) },
  });
  proven(incremental, `${more} MiB`);

  say('verifying the incremental: its chain is read as a restore would, every block compared with its hash');
  const verified = await verify(stage, pair, incremental.backup_id);
  say('what retention would do if only the newest restore point were to be kept; nothing of it is done');
  const preview = await previewRetention(stage, pair, VM, repositoryId);

  const left = await countLeftovers(stage, pair);
  const { snapshots } = await snapshotList(stage, VM);
  const ok =
    [full, incremental].every(isProven) &&
    incremental.disks.every(({ backup_type }) => backup_type === 'incremental') &&
    verified.outcome === 'passed' &&
    preview.remove.join() === full.backup_id &&
    preview.restore_points === 2 &&
    snapshots.length + left.processes + left.leases === 0;
  return {
    ...{ ok, ...full },
    snapshots_left: snapshots.length,
    processes_left: left.processes,
    leases_left: left.leases,
    ...{ incremental, verify: verified, retention_preview: preview },
  };
}

function proven(backup: Omit<ProvenBackup, 'writes'>, written: string): void {
  say(`proof (the guest wrote ${written} meanwhile; ${backup.snapshots_created} snapshot was made):`);
  for (const disk of backup.disks)
    console.log(
      `  disk ${disk.disk_key}: ${disk.backup_type}, ${disk.identical ? 'identical with' : 'DIFFERENT FROM'} what the snapshot froze, file system ${disk.file_system_clean ? 'clean' : 'DAMAGED'}, ${(disk.stored_bytes / 2 ** 20).toFixed(1)} MiB stored`,
    );
}

function say(text: string): void {
  console.log(`\u001b[1m• ${text}\u001b[0m`);
}
