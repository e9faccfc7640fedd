import { eventually } from '@sendense/runtime/testing';
import { docker } from './docker.js';
import type { Environment } from './environment.js';

const MIB = 2 ** 20;

/** A backup, as far as the suite looks at it. */
export interface Backup {
  readonly backup_id: string;
  readonly state: string;
  readonly progress: { readonly bytes_done: number } | null;
  readonly disk_results: readonly {
    readonly disk_key: number;
    readonly backup_type: string;
    readonly reason: string;
    readonly status: string;
    readonly qcow2_path: string;
  }[];
  readonly error: { readonly code: string; readonly message: string } | null;
}

interface Snapshots {
  readonly snapshots: readonly { readonly name: string }[];
  readonly history: { readonly created: number; readonly removed: number };
}

/** What may not be left once no backup runs. */
export const NOTHING_LEFT = { leases: [], hub: '', node: '', partial: '', snapshots: [], unremoved: 0 };

/** A VM of the lab that the hub protects. */
export class ProtectedVm {
  private constructor(
    private readonly environment: Environment,
    readonly name: string,
    private readonly repositoryId: string,
  ) {}

  /** Two disks of 48 and 8 MiB, with random data on most of them. */
  static async create(
    environment: Environment,
    options: { readonly name: string; readonly vcenterId: string; readonly repositoryId: string },
  ): Promise<ProtectedVm> {
    const { name, vcenterId, repositoryId } = options;
    await environment.lab('vm', 'create', name, '--disk', '48M', '--disk', '8M');
    const vm = new ProtectedVm(environment, name, repositoryId);
    await vm.write(2000, 0, 40 * MIB);
    await vm.write(2001, 0, 4 * MIB);
    await environment.api.post('vms', { vcenter_id: vcenterId, vm_name: name });
    return vm;
  }

  /** The guest writes random data, or zeros. */
  async write(disk: number, offset: number, length: number, content = `${disk} ${offset}`): Promise<void> {
    const what = content === '' ? ['--zeros'] : ['--random', content];
    const where = ['--disk', String(disk), '--offset', String(offset), '--length', String(length)];
    await this.environment.lab('guest', 'write', this.name, ...where, ...what);
  }

  async start(type: 'full' | 'incremental'): Promise<string> {
    const request = { vm_name: this.name, repository_id: this.repositoryId, backup_type: type };
    return (await this.environment.api.post<Backup>('backups', request)).backup_id;
  }

  show(id: string): Promise<Backup> {
    return this.environment.api.get<Backup>(`backups/${id}`);
  }

  ended(id: string): Promise<Backup> {
    return eventually(
      `${id} has ended`,
      async () => {
        const backup = await this.show(id);
        return ['completed', 'failed', 'cancelled'].includes(backup.state) ? backup : undefined;
      },
      180_000,
    );
  }

  /** A backup of which bytes flow, slowly until {@link Environment.lab} clears its faults. */
  async flowing(): Promise<string> {
    await this.environment.lab('fault', 'set', 'vddk.read', '--delay-ms', '1000');
    const id = await this.start('full');
    await eventually('bytes flow', async () => ((await this.show(id)).progress?.bytes_done ?? 0) > 0, 60_000);
    return id;
  }

  async backUp(type: 'full' | 'incremental'): Promise<Backup> {
    return this.ended(await this.start(type));
  }

  /** Per disk, whether what stock qemu-img restores is what the backup's snapshot froze, byte for byte. */
  async compare(backup: Backup): Promise<Record<number, boolean>> {
    const same: Record<number, boolean> = {};
    for (const { disk_key: key, qcow2_path: image } of backup.disk_results) {
      const snapshot = `sendense-${backup.backup_id}`;
      const frozen = await this.environment.lab(
        ...['disk', 'path', this.name, '--disk', String(key), '--snapshot', snapshot],
      );
      const script = `qemu-img convert -f qcow2 -O raw "$1" /tmp/restored && cmp /tmp/restored "$2"`;
      same[key] = await this.environment.stock(script, image, frozen.trim()).then(
        () => true,
        () => false,
      );
    }
    return same;
  }

  /** What is left of backups anywhere. */
  async leftovers(): Promise<Record<string, unknown>> {
    const { environment } = this;
    const { ports } = await environment.api.get<{ ports: { leased: readonly unknown[] } }>('system');
    const { snapshots, history } = await environment.labJson<Snapshots>('snapshot', 'list', this.name);
    const repository = await environment.exec('hub', ['find', '/srv/backup', '-name', '*.partial']);
    return {
      leases: ports.leased,
      hub: await this.#processes('hub', /qemu-nbd|qemu-img/),
      node: await this.#processes('node', /nbdkit|backup-client/),
      partial: repository.trim(),
      snapshots: snapshots.map(({ name }) => name),
      unremoved: history.created - history.removed,
    };
  }

  async #processes(service: 'hub' | 'node', pattern: RegExp): Promise<string> {
    const list = await docker('top', this.environment.container(service), '-o', 'pid,args');
    return list
      .split('\n')
      .filter((line) => pattern.test(line))
      .join('\n');
  }
}
