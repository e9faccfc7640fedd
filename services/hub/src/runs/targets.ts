import { dirname, join } from 'node:path';
import {
  diskLayout,
  SendenseError,
  systemErrorCode,
  toSendenseError,
  type DiskLayout,
  type DiskPlan,
} from '@sendense/core';
import { probeExport } from '@sendense/nbd';
import { QemuImg, QemuNbd } from '@sendense/qemu';
import { ensureDirectory, OwnedStack, type Logger } from '@sendense/runtime';
import type { BackupRunsDependencies, UsableRepository } from './dependencies.js';
import type { PortLeases } from './ports.js';
import { publishedFile, type PublishedFile } from './run-files.js';
import type { Run } from './run-state.js';
import type { BackupPlan } from './types.js';

/** NBD connections that the node may open per disk: each is a channel of the tunnel, whose window bounds its speed. */
export const NBD_CONNECTIONS = 8;
/** Served besides those: whoever looks with a client of their own must not hold up the backup. */
const SPARE_CONNECTIONS = 2;

/** One disk's image, being written through its own qemu-nbd. */
export interface Target {
  readonly plan: DiskPlan;
  readonly layout: DiskLayout;
  readonly image: PublishedFile;
  readonly hashes: PublishedFile;
  readonly qemu: QemuNbd;
}

type TargetsDependencies = Pick<BackupRunsDependencies, 'catalog' | 'nodes' | 'config' | 'owner'>;

/**
 * The images of one backup. Disposing ends every qemu-nbd and the job's channels through the tunnel; the files belong to
 * the run, which removes them unless they were published.
 */
export class Targets implements AsyncDisposable {
  constructor(
    readonly disks: readonly Target[],
    private readonly owned: OwnedStack,
  ) {}

  /** Ends each qemu-nbd, which writes what it still holds. @throws `qemu_nbd_failed` of the first that could not */
  async stop(): Promise<void> {
    const ends = await Promise.allSettled(this.disks.map(({ qemu }) => qemu.stop()));
    const failed = ends.find((end) => end.status === 'rejected');
    if (failed) throw toSendenseError(failed.reason, 'qemu_nbd_failed');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.owned[Symbol.asyncDispose]();
  }
}

/**
 * Per disk: a folder, a QCOW2 image under its partial name (an overlay on the previous point's for an incremental), and a
 * qemu-nbd that has answered a handshake with the right name and size. A qemu-nbd that dies later stops the run.
 *
 * @throws `repository_not_writable` · `repository_full` · `target_create_failed` · `qemu_nbd_missing` · `qemu_nbd_failed` ·
 *   `no_port_available`
 */
export async function openTargets(
  run: Run,
  plan: BackupPlan,
  repository: UsableRepository,
  leases: PortLeases,
  dependencies: TargetsDependencies,
): Promise<Targets> {
  await using owned = new OwnedStack(run.log);
  owned.defer("the job's channels", () => dependencies.nodes.revokeJob(run.id));
  const opener = new TargetOpener(run, repository, leases, dependencies, owned);
  const opened = await Promise.allSettled(plan.disks.map((disk, index) => opener.open(disk, index)));
  // All have been waited for, so that what the others started is released with the rest.
  const failed = opened.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
  const disks = opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  return new Targets(disks, owned.move());
}

class TargetOpener {
  readonly #images: QemuImg;

  constructor(
    private readonly run: Run,
    private readonly repository: UsableRepository,
    private readonly leases: PortLeases,
    private readonly dependencies: TargetsDependencies,
    private readonly owned: OwnedStack,
  ) {
    this.#images = new QemuImg({ command: dependencies.config.qemuImg });
  }

  async open(plan: DiskPlan, index: number): Promise<Target> {
    const { run, repository } = this;
    const log = run.log.child({ diskKey: plan.key });
    const { contextId, vmName, id: backupId } = run;
    const layout = diskLayout({ contextId, vmName, backupId, number: plan.number });
    const image = publishedFile(join(repository.path, layout.imagePath));
    const hashes = publishedFile(join(repository.path, layout.hashesPath));
    const port = this.#port(index);
    // Recorded before anything is made, so that a crash leaves nothing unknown.
    await run.disk(plan.key, {
      status: 'preparing',
      qcow2Path: image.path,
      nbdPort: port,
      nbdExportName: layout.exportName,
    });
    await this.#createImage(plan, image.partial);
    const qemu = await this.#serve(plan, layout, image.partial, port, log);
    run.qemuNbdPids.set(plan.key, qemu.pid);
    await run.disk(plan.key, {
      status: 'qemu_started',
      qcow2Path: image.path,
      nbdPort: qemu.port,
      nbdExportName: layout.exportName,
      qemuNbdPid: qemu.pid,
    });
    return { plan, layout, image, hashes, qemu };
  }

  async #createImage(plan: DiskPlan, path: string): Promise<void> {
    const { repository, run } = this;
    try {
      await ensureDirectory(dirname(path));
      await this.#images.create(path, {
        sizeBytes: plan.capacityBytes,
        signal: run.signal,
        ...(plan.type === 'incremental'
          ? { backing: { path: join(repository.path, plan.parent.imagePath), format: 'qcow2' } }
          : {}),
      });
    } catch (error) {
      throw explainCreateFailure(error, path, repository);
    }
  }

  /** A stranger may take the port after it was leased: then another one is used. */
  async #serve(
    plan: DiskPlan,
    layout: DiskLayout,
    imagePath: string,
    firstPort: number,
    log: Logger,
  ): Promise<QemuNbd> {
    const { run, dependencies } = this;
    for (let port = firstPort; ; port = await this.leases.replace(port)) {
      try {
        const qemu = await QemuNbd.start({
          command: dependencies.config.qemuNbd,
          imagePath,
          exportName: layout.exportName,
          port,
          expectedSizeBytes: plan.capacityBytes,
          connections: NBD_CONNECTIONS + SPARE_CONNECTIONS,
          owner: dependencies.owner,
          log,
          probe: (address, name, signal) =>
            probeExport(address, name, { log, ...(signal ? { signal } : {}) }),
          signal: run.signal,
        });
        this.owned.use(`qemu-nbd of disk ${plan.key}`, qemu);
        void qemu.died.then((error) => run.stop(error));
        return qemu;
      } catch (error) {
        if (toSendenseError(error).code !== 'port_in_use') throw error;
      }
    }
  }

  #port(index: number): number {
    const port = this.leases.ports[index];
    if (port === undefined) throw new SendenseError('internal', `no port was leased for disk ${index}`);
    return port;
  }
}

/** The operator's view of a failed system call. */
function explainCreateFailure(error: unknown, path: string, repository: UsableRepository): SendenseError {
  const context = { path, repository_id: repository.id };
  const failure = toSendenseError(error, 'target_create_failed');
  const systemCode = systemErrorCode(error);
  if (failure.code === 'out_of_space')
    return new SendenseError(
      'repository_full',
      `repository ${repository.id} is full: ${path} cannot be created. Free space there, or use another repository`,
      { context, cause: error },
    );
  if (systemCode === 'EACCES' || systemCode === 'EPERM' || systemCode === 'EROFS')
    return new SendenseError(
      'repository_not_writable',
      `${path} cannot be created in repository ${repository.id} (${systemCode}): make its folders writable for the hub's user`,
      { context, cause: error },
    );
  if (failure.code !== 'target_create_failed') return failure;
  const inTheWay = systemCode === 'EEXIST' || systemCode === 'ENOTDIR';
  const advice = inTheWay ? 'Remove what is in its way there' : 'Look after the file system there';
  return new SendenseError(
    'target_create_failed',
    `${path} cannot be created in repository ${repository.id}: ${failure.message}. ${advice}`,
    { context, cause: error },
  );
}
