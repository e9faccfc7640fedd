import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { OwnedStack, silentLogger, type Logger, type PortRange } from '@sendense/runtime';
import { AuditTrail } from '../../src/audit-trail.js';
import { ExportDirectory } from '../../src/exports/export-directory.js';
import { startTasks } from '../../src/tasks/start-tasks.js';
import type { Tasks } from '../../src/tasks/types.js';
import { ownerOf, Spine, type SpineNode } from '../stage/spine.js';

/** What a hub is started with, and started again. */
export interface HubPlace {
  readonly node: SpineNode;
  /** Holds the catalogue and the repository. */
  readonly folder: string;
  readonly ports: PortRange;
}

/** Every block of the small disks here is audited, so that each lie of change tracking is found. */
export const AUDIT_BLOCKS = 1_000;

/** A life of a hub: its runs and its tasks. */
export class ModelHub implements AsyncDisposable {
  private constructor(
    readonly spine: Spine,
    readonly tasks: Tasks,
    private readonly owned: OwnedStack,
  ) {}

  static async start({ node, folder, ports }: HubPlace, log: Logger = silentLogger): Promise<ModelHub> {
    await using owned = new OwnedStack(log);
    const spine = owned.use(
      'spine',
      await Spine.start(node, { folder, ports, log, cbtAuditBlocks: AUDIT_BLOCKS }),
    );
    const { catalog, locks, repositories } = spine;
    const audit = owned.use('audit trail', new AuditTrail(catalog, log));
    const runtimeDirectory = join(folder, 'run');
    mkdirSync(runtimeDirectory, { recursive: true, mode: 0o700 });
    const config = { maxTasks: 2, qemuImg: 'qemu-img', qemuNbd: 'qemu-nbd', runtimeDirectory };
    const owner = ownerOf(folder);
    const tasks = await startTasks(
      {
        config,
        catalog,
        locks,
        audit,
        repositories,
        exports: new ExportDirectory({ path: undefined, hubId: 'model', ownDirectories: [] }),
        owner,
        log,
      },
      owned,
    );
    return new ModelHub(spine, tasks, owned.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.owned[Symbol.asyncDispose]();
  }
}
