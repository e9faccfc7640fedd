import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { eventually } from '@sendense/runtime/testing';
import { Machine } from './machine.js';

const CHECKOUT = resolve(import.meta.dirname, '../../../..');
export const TOOLS = process.env['SENDENSE_TOOLS_DIR'] ?? join(CHECKOUT, '.tools');

/** Where tools/setup.sh puts a Debian that was never started. */
export const imageOf = (suite: Suite) => join(TOOLS, 'debian', suite);
export type Suite = 'bookworm' | 'trixie';

/** What these tests need; nspawn needs root. */
export const needs = (suite: Suite): string[] => [
  'systemd-nspawn',
  'nsenter',
  'dpkg-deb',
  join(imageOf(suite), 'etc/debian_version'),
  ...(process.getuid?.() === 0 ? [] : ['root, which systemd-nspawn needs/']),
];

/** What `sendense` exits with when no hub answers. */
const HUB_UNREACHABLE = 3;

interface BackupAnswer {
  readonly backup_id: string;
  readonly state: string;
  readonly error?: { readonly code: string } | null;
  readonly disk_results: readonly { readonly disk_key: number; readonly qcow2_path: string }[];
}

/** One machine with the packages of hub and node, and a lab on it as vCenter. */
export class Appliance implements AsyncDisposable {
  #token = '';

  private constructor(
    readonly machine: Machine,
    private readonly work: string,
  ) {}

  static async start(suite: Suite): Promise<Appliance> {
    const base = join(TOOLS, 'packages-test');
    mkdirSync(base, { recursive: true });
    const work = mkdtempSync(join(base, `${suite}-`));
    try {
      mkdirSync(join(work, 'packages'));
      await execa(join(CHECKOUT, 'tools/assemble.sh'), ['--built', 'lab', join(work, 'lab')]);
      const folders = {
        '/opt/packages': join(work, 'packages'),
        '/opt/lab': join(work, 'lab'),
        '/opt/vddk-plugin': join(TOOLS, 'vddk-plugin'),
      };
      const machine = await Machine.start({ image: imageOf(suite), directory: join(work, 'root'), folders });
      return new Appliance(machine, work);
    } catch (error) {
      rmSync(work, { recursive: true, force: true });
      throw error;
    }
  }

  /** Builds the packages, unless there are some of this version. */
  async build(version: string): Promise<string[]> {
    const out = join(this.work, 'packages');
    const names = ['hub', 'node'].map((role) => `sendense-${role}_${version}_amd64.deb`);
    if (!names.every((name) => existsSync(join(out, name)))) {
      const build = join(CHECKOUT, 'deploy/packages/build.sh');
      await execa(build, ['--fast', '--version', version, '--out', out]);
    }
    return names.map((name) => `/opt/packages/${name}`);
  }

  /** Builds the packages and has apt install them. @returns what that says */
  async install(version: string): Promise<string> {
    const files = await this.build(version);
    return this.machine.run('apt-get', 'install', '-y', '--no-install-recommends', ...files);
  }

  async sendense<T>(...args: string[]): Promise<T> {
    const { machine } = this;
    const answer = await machine.run('env', `SENDENSE_TOKEN=${this.#token}`, 'sendense', '--json', ...args);
    return JSON.parse(answer) as T;
  }

  async login(): Promise<void> {
    const { machine } = this;
    this.#token = await machine.run('sendense-hub', 'token', 'create', '--name', 'admin', '--role', 'admin');
  }

  /** A vCenter with one VM of two disks that hold something. */
  async startLab(): Promise<void> {
    const { machine } = this;
    // Its files are read through the stand-in for VMware's library, by nbdkit.
    await machine.run('install', '-d', '-o', 'sendense-node', '-g', 'sendense-node', '/srv/lab');
    await machine.write(
      '/etc/systemd/system/lab.service',
      '[Service]\nUser=sendense-node\nStandardOutput=truncate:/srv/lab/facts\n' +
        'ExecStart=/opt/lab/bin/sendense-lab serve --dir /srv/lab/dir --listen 127.0.0.1:8443 --keep-frozen\n' +
        '[Install]\nWantedBy=multi-user.target\n',
    );
    await machine.run('systemctl', 'enable', '--now', 'lab');
    await this.labFacts();
    await this.lab('vm', 'create', 'pgtest1', '--disk', '64M', '--disk', '5M,controller=scsi1');
    const write = ['guest', 'write', 'pgtest1', '--disk'];
    await this.lab(...write, '2000', '--offset', '4M', '--random', 'data', '--length', '24M');
    await this.lab(...write, '2016', '--offset', '1M', '--random', 'log', '--length', '1M');
  }

  async lab(...args: string[]): Promise<string> {
    return this.machine.run('env', 'LAB_DIR=/srv/lab/dir', '/opt/lab/bin/sendense-lab', ...args);
  }

  async labFacts(): Promise<{ readonly thumbprint_sha256: string; readonly username: string }> {
    return eventually('the lab to be there', async () => {
      const { stdout } = await this.machine.try('head', '-n1', '/srv/lab/facts');
      return stdout ? (JSON.parse(stdout) as Awaited<ReturnType<Appliance['labFacts']>>) : undefined;
    });
  }

  /** As docs/deployment.md does it, with the stand-in for VMware's library. @returns the repository's id */
  async setUp(): Promise<string> {
    const { machine } = this;
    await machine.write(
      '/etc/systemd/system/sendense-node.service.d/lab.conf',
      '[Service]\nEnvironment=LAB_VDDK_DIR=/srv/lab/dir/vddk\n',
    );
    await machine.run('systemctl', 'daemon-reload');
    const { enrolment_token } = await this.sendense<{ enrolment_token: string }>('node', 'add', 'site-1');
    const enrol = ['enrol', '--hub', '127.0.0.1:443', '--token-file', '-'];
    await machine.runWith(enrolment_token, 'sendense-node', ...enrol);
    await machine.run('systemctl', 'enable', '--now', 'sendense-node');
    await this.nodeIsOnline();
    const facts = await this.labFacts();
    const vcenter = ['--node', 'site-1', '--endpoint', '127.0.0.1:8443', '--username', facts.username];
    const secret = ['--password-file', '/srv/lab/dir/password', '--thumbprint', facts.thumbprint_sha256];
    await this.sendense('vcenter', 'add', 'main', ...vcenter, ...secret);
    const [{ vcenter_id } = { vcenter_id: '' }] = await this.sendense<{ vcenter_id: string }[]>(
      'vcenter',
      'list',
    );
    await this.sendense('vm', 'protect', 'pgtest1', '--vcenter', vcenter_id);
    await machine.run('install', '-d', '-m', '750', '-o', 'sendense', '/srv/backup');
    const repository = ['repository', 'add', 'main', '--path', '/srv/backup'];
    return (await this.sendense<{ repository_id: string }>(...repository)).repository_id;
  }

  async nodeIsOnline(): Promise<void> {
    await eventually(
      'the node to be online',
      async () => {
        const { state } = await this.sendense<{ state: string }>('node', 'show', 'site-1');
        return state === 'online';
      },
      60_000,
    );
  }

  async hubAnswers(): Promise<void> {
    await eventually('the hub to answer', async () => {
      const { exitCode } = await this.machine.try('sendense', 'status');
      // It also says that something of it is not well, a node that is away for example.
      return exitCode !== HUB_UNREACHABLE;
    });
  }

  /** Bytes per second of each backup, 0 is unlimited. The hub is started again, so backups that run fail. */
  async limitRate(bytesPerSecond: number): Promise<void> {
    await this.machine.write('/etc/sendense/hub.env', `SENDENSE_RATE_LIMIT=${bytesPerSecond}\n`);
    await this.machine.run('systemctl', 'restart', 'sendense-hub');
    await this.hubAnswers();
    await this.nodeIsOnline();
  }

  async startBackup(repositoryId: string, type: 'full' | 'incremental'): Promise<string> {
    const start = ['backup', 'start', 'pgtest1', '--repository', repositoryId, '--type', type];
    return (await this.sendense<BackupAnswer>(...start)).backup_id;
  }

  async backup(id: string): Promise<BackupAnswer> {
    return this.sendense<BackupAnswer>('backup', 'show', id);
  }

  async endOf(id: string): Promise<BackupAnswer> {
    return eventually(
      'the backup to end',
      async () => {
        const backup = await this.backup(id);
        return ['completed', 'failed', 'cancelled'].includes(backup.state) ? backup : undefined;
      },
      60_000,
    );
  }

  /** Compares what was backed up with what the snapshot froze, with Debian's own qemu-img. @returns what it says of each */
  async compare(backup: BackupAnswer): Promise<string[]> {
    const said: string[] = [];
    for (const { disk_key, qcow2_path } of backup.disk_results) {
      const of = ['--disk', String(disk_key), '--snapshot', `sendense-${backup.backup_id}`];
      const frozen = (await this.lab('disk', 'path', 'pgtest1', ...of)).trim();
      said.push(
        await this.machine.run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', frozen, qcow2_path),
      );
    }
    return said;
  }

  /** What must outlive the packages, with checksums of what does not change any more. */
  async data(): Promise<string> {
    const places = '/srv/backup /var/lib/sendense /var/lib/sendense-node';
    // SQLite's files beside the database come and go.
    const files = `find ${places} -type f ! -name '*-wal' ! -name '*-shm' ! -name '*-journal' ! -name 'lock.*'`;
    const fixed = `find ${places} -type f ( -name '*.qcow2' -o -name '*key' -o -name '*ed25519' )`;
    const script = `${files} | sort; ${fixed.replaceAll(/[()]/g, '\\$&')} | sort | xargs sha256sum`;
    return this.machine.run('sh', '-c', script);
  }

  /** The commands that run in a service's cgroup, each with its user. */
  async processesOf(unit: string): Promise<string[]> {
    const group = `/sys/fs/cgroup/system.slice/${unit}.service/cgroup.procs`;
    const script = `for p in $(cat ${group}); do echo "$(stat -c %U /proc/$p) $(tr '\\0' ' ' </proc/$p/cmdline)"; done`;
    const lines = (await this.machine.run('sh', '-c', script)).split('\n');
    // One that has ended meanwhile has neither.
    return lines.filter((line) => /^\S+ \S/.test(line));
  }

  /** As systemd-analyze security sums it up: 0 is closed, 10 is open. */
  async exposure(unit: string): Promise<number> {
    const said = await this.machine.run('systemd-analyze', 'security', '--no-pager', unit);
    return Number(/Overall exposure level for .*: ([\d.]+)/.exec(said)?.[1]);
  }

  async versions(): Promise<string[]> {
    const packages = ['sendense-hub', 'sendense-node'];
    return (await this.machine.run('dpkg-query', '-W', '-f', '${Version}\\n', ...packages)).split('\n');
  }

  async property(unit: string, name: string): Promise<string> {
    return this.machine.run('systemctl', 'show', '--value', `--property=${name}`, unit);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
    if (existsSync(this.work)) rmSync(this.work, { recursive: true, force: true });
  }
}
