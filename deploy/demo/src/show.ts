import type { Constellation, LabFacts, Programs } from '@sendense/stage';
import { previewRetention, verify, type PreviewFacts, type VerifyFacts } from './after.js';
import { backUp, isProven, type ProvenBackup } from './back-up.js';
import { guestWrites, inLab, snapshotList } from './guest.js';
import type { GuestDisk } from './guest-disks.js';
import { leasedPorts } from './proof.js';

/** A hub that can be asked. */
export type Hub = Pick<Constellation, 'url' | 'token' | 'cli' | 'cliEnvironment'>;

/** What the demo's last line says: of the full beside `ok`, and then of what came after it. */
export interface Facts extends Omit<ProvenBackup, 'writes'> {
  readonly ok: boolean;
  readonly snapshots_left: number;
  readonly leases_left: number;
  readonly change_tracking: string;
  readonly incremental: Omit<ProvenBackup, 'writes'>;
  readonly verify: VerifyFacts;
  readonly retention_preview: PreviewFacts;
}

/** What is backed up, and where to. */
export interface Subject {
  readonly vm: string;
  readonly repositoryId: string;
  readonly changeTracking: string;
  readonly disks: readonly GuestDisk[];
}

/** A VM with these disks: their content is written into it. */
export async function createVm(programs: Programs, vm: string, disks: readonly GuestDisk[]): Promise<void> {
  await inLab(
    programs,
    'vm',
    'create',
    vm,
    ...disks.flatMap(({ sizeBytes }) => ['--disk', String(sizeBytes)]),
  );
  for (const [index, { image }] of disks.entries()) {
    const where = ['--disk', String(2000 + index), '--offset', '0'];
    await inLab(programs, 'guest', 'write', vm, ...where, '--file', image);
  }
}

export interface Surroundings {
  readonly lab: LabFacts;
  readonly node: string;
  readonly vm: string;
  readonly repositoryPath: string;
}

/** vCenter, protection and repository, as a person would with the CLI; what is there from an earlier demo is used. */
export async function configure(
  { cli }: Hub,
  { lab, node, vm: name, repositoryPath: path }: Surroundings,
): Promise<{ readonly repositoryId: string; readonly changeTracking: string }> {
  const vcenters = await cli<readonly { vcenter_id: string; name: string }[]>('vcenter', 'list');
  const vcenter =
    vcenters.find((one) => one.name === 'lab') ??
    (await cli<{ vcenter_id: string }>(
      ...['vcenter', 'add', 'lab', '--node', node, '--endpoint', new URL(lab.endpoint).host],
      ...['--username', lab.username, '--password-file', lab.password_file],
      ...['--thumbprint', lab.thumbprint_sha256],
    ));
  const vm = await cli<{ change_tracking: { state: string } }>(
    ...['vm', 'protect', name, '--vcenter', vcenter.vcenter_id],
  );
  const repositories = await cli<readonly { repository_id: string; path: string }[]>('repository', 'list');
  const repository =
    repositories.find((one) => one.path === path) ??
    (await cli<{ repository_id: string }>('repository', 'add', 'main', '--path', path));
  return { repositoryId: repository.repository_id, changeTracking: vm.change_tracking.state };
}

/** A full, guest writes, an incremental, a verification and a look at retention, each with its proof. */
export async function showEverything(programs: Programs, hub: Hub, subject: Subject): Promise<Facts> {
  const { vm, repositoryId } = subject;
  const [system, data] = subject.disks;
  // The guest writes the first half of its places while the full runs, the next ones between the two backups.
  const places = system?.fileContent ?? [];
  const common = { vm, repositoryId };
  say(`backing up ${vm}, while its guest goes on writing`);
  const { writes, ...full } = await backUp(programs, hub, {
    ...{ ...common, type: 'full', overwrites: places.slice(0, 16) },
  });
  proven(full, `${writes} MiB`);

  say('the guest writes: 3 MiB of data and 1 MiB of zeros on one disk, 1 MiB of data on the other');
  for (const [index, offset] of places.slice(16, 20).entries())
    await guestWrites(programs, vm, { diskKey: 2000, offset, seed: index === 0 ? undefined : `${index}` });
  for (const offset of (data?.fileContent ?? []).slice(0, 1))
    await guestWrites(programs, vm, { diskKey: 2001, offset, seed: 'data' });
  say('what an incremental backup would do now, and then the backup');
  const plan = ['backup', 'plan', vm, '--repository', repositoryId, '--type', 'incremental'];
  await programs.show('sendense', plan, hub.cliEnvironment);
  const { writes: more, ...incremental } = await backUp(programs, hub, {
    ...{ ...common, type: 'incremental', overwrites: places.slice(20) },
  });
  proven(incremental, `${more} MiB`);

  say('verifying the incremental: its chain is read as a restore would, every block compared with its hash');
  const verified = await verify(programs, hub, incremental.backup_id);
  say('what retention would do if only the newest restore point were to be kept; nothing of it is done');
  const preview = await previewRetention(programs, hub, vm, repositoryId);

  const leases = await leasedPorts(hub);
  const { snapshots } = await snapshotList(programs, vm);
  const ok =
    [full, incremental].every(isProven) &&
    incremental.disks.every(({ backup_type }) => backup_type === 'incremental') &&
    verified.outcome === 'passed' &&
    preview.remove.join() === full.backup_id &&
    preview.restore_points === 2 &&
    snapshots.length + leases === 0;
  return {
    ...{ ok, ...full },
    snapshots_left: snapshots.length,
    leases_left: leases,
    change_tracking: subject.changeTracking,
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

export function say(text: string): void {
  console.log(`\u001b[1m• ${text}\u001b[0m`);
}
