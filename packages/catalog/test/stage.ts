// What the tests of this package share: a catalogue of its own, with as much in it as a test needs.
import { join } from 'node:path';
import { PrismaBetterSqlite3 } from '@prisma/adapter-better-sqlite3';
import { silentLogger as log } from '@sendense/runtime';
import { temporaryDirectory } from '@sendense/runtime/testing';
import {
  openCatalog,
  type BackupRecord,
  type Catalog,
  type DiscoveredDisk,
  type DiscoveredVm,
  type VmRecord,
} from '../src/index.js';
import { childEnvironment } from './child-database.js';
import { newDatabase, type TestDatabase } from './databases.js';

export const GIB = 1024 ** 3;

export class Stage implements AsyncDisposable {
  #catalog: Catalog | undefined;
  readonly folder = temporaryDirectory('sendense-catalog');

  private constructor(readonly database: TestDatabase) {}

  static async open(): Promise<Stage> {
    const stage = new Stage(await newDatabase());
    await stage.reopen();
    return stage;
  }

  /** One of an earlier version. @param migrationsFolder what that version had */
  static async openAs(migrationsFolder: string): Promise<Stage> {
    const stage = new Stage(await newDatabase());
    await stage.#open(migrationsFolder);
    return stage;
  }

  get catalog(): Catalog {
    return this.#catalog!;
  }

  get directory(): string {
    return this.folder.path;
  }

  /** For processes that open the same catalogue. */
  get environment(): Record<string, string> {
    return childEnvironment(this.database?.url);
  }

  /** Where everything that the catalogue keeps ends up. */
  get dataDirectories(): string[] {
    return [this.directory, ...(this.database ? [this.database.dataDirectory] : [])];
  }

  /** Changes the database behind the catalogue's back. */
  async execute(sql: string): Promise<void> {
    if (this.database) {
      await this.database.query(sql);
      return;
    }
    // The library that the catalogue itself uses: see https://www.sqlite.org/howtocorrupt.html, 2.2.1.
    const adapter = await new PrismaBetterSqlite3({
      url: `file:${join(this.directory, 'catalog.db')}`,
    }).connect();
    await adapter.executeScript(sql);
    await adapter.dispose();
  }

  async close(): Promise<void> {
    await this.#catalog?.[Symbol.asyncDispose]();
    this.#catalog = undefined;
  }

  async reopen(): Promise<Catalog> {
    await this.close();
    return this.#open();
  }

  async #open(migrationsFolder?: string): Promise<Catalog> {
    this.#catalog = await openCatalog({
      ...{ directory: this.directory, database: this.database?.target, log },
      ...(migrationsFolder === undefined ? {} : { migrationsFolder }),
    });
    return this.#catalog;
  }

  async addVcenter(name = 'vc1', password = 'secret'): Promise<string> {
    const nodeName = 'node-1';
    if (!(await this.catalog.nodes.find(nodeName))) await this.catalog.nodes.create(nodeName);
    const fields = { endpoint: 'vc.test', username: 'backup@vsphere.local', thumbprint: 'AB:CD' };
    return (await this.catalog.vcenters.create({ name, nodeName, password, ...fields })).id;
  }

  async addRepository(name = 'repo'): Promise<string> {
    return (await this.catalog.repositories.create({ name, type: 'local', path: `/backup/${name}` })).id;
  }

  /** A protected VM with its vCenter and a repository. */
  async addVm(name = 'pgtest1', disks = 2): Promise<{ vm: VmRecord; repositoryId: string }> {
    const vcenterId = await this.addVcenter(`vc of ${name}`);
    const repositoryId = await this.addRepository(`repo of ${name}`);
    return { vm: await this.catalog.vms.protect(vcenterId, discovered(name, disks)), repositoryId };
  }

  async begin(vm: VmRecord, repositoryId: string): Promise<BackupRecord> {
    return this.catalog.backups.begin({
      contextId: vm.contextId,
      repositoryId,
      type: 'full',
      quiesce: false,
      requestedBy: 'test',
      disks: vm.disks.map(({ diskId }) => ({ diskId, backupType: 'full', reason: 'requested' })),
    });
  }

  /** Brings a backup from `queued` to `sealing`, with everything recorded on the way. */
  async runToSealing(backup: BackupRecord): Promise<void> {
    const { backups } = this.catalog;
    await backups.changeState(backup.id, { state: 'preparing' });
    for (const { diskKey, diskNumber } of backup.disks) {
      const target = {
        qcow2Path: `/backup/disk-${diskNumber}.qcow2`,
        nbdPort: 10_100 + diskNumber,
        nbdExportName: 'x',
      };
      await backups.changeDisk(backup.id, diskKey, { status: 'preparing', ...target });
      await backups.changeDisk(backup.id, diskKey, { status: 'qemu_started', qemuNbdPid: 4711 });
    }
    await backups.changeState(backup.id, { state: 'running' });
    await backups.recordSnapshot(backup.id, {
      moref: 'snapshot-58',
      name: `sendense-${backup.id}`,
      quiesced: true,
      createdAt: new Date(),
      changeIds: backup.disks.map(({ diskKey }) => ({ diskKey, changeId: `52 aa/${diskKey}` })),
    });
    await backups.recordProgress(backup.id, {
      lastEventSequence: 7,
      disks: backup.disks.map(({ diskKey }) => ({ diskKey, bytesDone: 2 * GIB, bytesTotal: 2 * GIB })),
    });
    await backups.changeState(backup.id, { state: 'sealing' });
  }

  async seal(backup: BackupRecord) {
    return this.catalog.backups.seal(backup.id, {
      takenAt: new Date(),
      manifestPath: `${backup.contextId}/manifests/${backup.id}.json`,
      disks: backup.disks.map(({ diskKey, diskNumber }) => ({
        diskKey,
        imagePath: `${backup.contextId}/disk-${diskNumber}/${backup.id}.qcow2`,
        hashesPath: `${backup.contextId}/disk-${diskNumber}/${backup.id}.hashes`,
        storedBytes: GIB,
      })),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    this.folder[Symbol.dispose]();
  }
}

export function discovered(name: string, disks = 2): DiscoveredVm {
  return {
    moref: 'vm-57',
    instanceUuid: `5020-${name}`,
    name,
    powerState: 'poweredOn',
    hostMoref: 'host-21',
    hostName: 'esx1',
    guestFullName: 'Debian',
    disks: Array.from({ length: disks }, (_, index) => disk(2000 + index)),
  };
}

export function disk(key: number, change: Partial<DiscoveredDisk> = {}): DiscoveredDisk {
  return {
    key,
    label: `Hard disk ${key - 1999}`,
    backingUuid: `6000C29-${key}`,
    backingFile: `[ds1] vm/vm_${key}.vmdk`,
    datastore: 'ds1',
    capacityBytes: 102 * GIB,
    controllerKey: 1000,
    unitNumber: key - 2000,
    ...change,
  };
}

/** Names that people and vSphere really give, and those that nobody should. */
export const ODD_NAMES = [
  'a b',
  '../../etc/passwd',
  'a/b\\c',
  `it's "quoted"; DROP TABLE nodes;--`,
  'zeile\nzwei\r\n\tdrei',
  '🙂👨‍👩‍👧‍👦 данные 数据',
  '%00 %s {} ${x}',
  '𝒳'.repeat(300),
  'x'.repeat(512),
  ' leading and trailing ',
];
