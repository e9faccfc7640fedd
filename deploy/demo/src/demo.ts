import { delay } from '@sendense/runtime';
import { NODE_NAME, Stage, startLab, startPair, type Constellation } from '@sendense/stage';
import { makeGuestDisk, PARTITION_OFFSET, type GuestDisk } from './guest-disks.js';
import { nextSteps } from './next-steps.js';
import { countLeftovers, proveDisk, type BackupAnswer, type DiskProof } from './proof.js';

const VM = 'pgtest1';

/** What the demo's last line says. */
interface Facts {
  readonly ok: boolean;
  readonly backup_id: string;
  readonly state: string;
  readonly seconds: number;
  readonly disks: readonly DiskProof[];
  readonly snapshots_created: number;
  readonly snapshots_left: number;
  readonly processes_left: number;
  readonly leases_left: number;
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
    const repositoryId = await configure(stage, pair);
    const facts = await backUpAndProve(stage, pair, repositoryId);
    console.log(nextSteps(stage, pair, repositoryId, VM, keep));
    console.log(JSON.stringify(facts));
    return facts.ok;
  } finally {
    if (!keep) await Stage.stop(directory);
  }
}

async function createVm(stage: Stage, disks: readonly GuestDisk[]): Promise<void> {
  await inLab(stage, 'vm', 'create', VM, ...disks.flatMap(({ sizeBytes }) => ['--disk', String(sizeBytes)]));
  for (const [index, { image }] of disks.entries()) {
    await inLab(
      stage,
      'guest',
      'write',
      VM,
      '--disk',
      String(2000 + index),
      '--offset',
      '0',
      '--file',
      image,
    );
  }
}

/** vCenter, protection and repository, as a person would with the CLI. @returns the repository's id */
async function configure(stage: Stage, pair: Constellation): Promise<string> {
  const { lab, cli } = pair;
  const vcenter = await cli<{ vcenter_id: string }>(
    ...['vcenter', 'add', 'lab', '--node', NODE_NAME, '--endpoint', new URL(lab.endpoint).host],
    ...[
      '--username',
      lab.username,
      '--password-file',
      lab.password_file,
      '--thumbprint',
      lab.thumbprint_sha256,
    ],
  );
  await cli('vm', 'protect', VM, '--vcenter', vcenter.vcenter_id);
  const path = stage.path('repository');
  const repository = await cli<{ repository_id: string }>('repository', 'add', 'main', '--path', path);
  return repository.repository_id;
}

async function backUpAndProve(stage: Stage, pair: Constellation, repositoryId: string): Promise<Facts> {
  say(`backing up ${VM}, while its guest goes on writing`);
  const startedAt = Date.now();
  const started = await pair.cli<BackupAnswer>(
    'backup',
    'start',
    VM,
    '--repository',
    repositoryId,
    '--type',
    'full',
  );
  const follow = stage.show('sendense', ['backup', 'follow', started.backup_id], pair.cliEnvironment);
  const written = await guestWritesDuring(stage, follow);
  const exitCode = await follow;
  const seconds = (Date.now() - startedAt) / 1000;
  const backup = await pair.cli<BackupAnswer>('backup', 'show', started.backup_id);

  say(
    `proving it (the guest wrote ${written} MiB meanwhile): disks against the frozen ones, file systems, what is left`,
  );
  const disks: DiskProof[] = [];
  if (exitCode === 0) {
    for (const disk of backup.disk_results)
      disks.push(await proveDisk(stage, VM, `sendense-${backup.backup_id}`, disk));
  }
  const snapshots = await snapshotList(stage);
  const left = await countLeftovers(stage, pair);
  const identical = disks.length === 2 && disks.every((disk) => disk.identical && disk.file_system_clean);
  const nothingLeft = snapshots.snapshots.length === 0 && left.processes === 0 && left.leases === 0;
  return {
    ok: identical && nothingLeft && snapshots.history.created === 1,
    backup_id: backup.backup_id,
    state: backup.state,
    seconds,
    disks,
    snapshots_created: snapshots.history.created,
    snapshots_left: snapshots.snapshots.length,
    processes_left: left.processes,
    leases_left: left.leases,
  };
}

/** Once the snapshot exists the guest overwrites parts of its file system: the backup must not see it. @returns MiB */
async function guestWritesDuring(stage: Stage, backup: Promise<unknown>): Promise<number> {
  let running = true;
  void backup.finally(() => (running = false));
  while (running && (await snapshotList(stage)).snapshots.length === 0) await delay(20);
  let written = 0;
  for (; running && written < 16; written++) {
    const offset = String(PARTITION_OFFSET + written * (8 << 20));
    await inLab(
      stage,
      'guest',
      'write',
      VM,
      '--disk',
      '2000',
      '--offset',
      offset,
      '--random',
      `${written}`,
      '--length',
      '1048576',
    );
  }
  return written;
}

interface SnapshotList {
  readonly snapshots: readonly unknown[];
  readonly history: { readonly created: number; readonly removed: number };
}

async function snapshotList(stage: Stage): Promise<SnapshotList> {
  return JSON.parse(await inLab(stage, 'snapshot', 'list', VM, '--json')) as SnapshotList;
}

function inLab(stage: Stage, ...args: string[]): Promise<string> {
  return stage.run('sendense-lab', args, { LAB_DIR: stage.path('lab') });
}

function say(text: string): void {
  console.log(`\u001b[1m• ${text}\u001b[0m`);
}
