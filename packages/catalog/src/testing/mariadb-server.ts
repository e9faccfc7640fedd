// A MariaDB server of a test's own: a private directory, a unix socket, an unprivileged user, no network.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ChildProcess, silentLogger as log } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import { createConnection } from 'mariadb';
import { mariaDbTarget, type MariaDbTarget } from '../index.js';
import { installerOf, MARIADBD } from './mariadb-programs.js';

export { MARIADBD, mariaDbPrograms, type MariaDbProgram } from './mariadb-programs.js';

/** What it writes need not survive the machine. */
const SMALL_AND_FAST = [
  '--no-defaults',
  '--innodb-log-file-size=8M',
  '--innodb-buffer-pool-size=32M',
  '--innodb-flush-log-at-trx-commit=0',
  '--innodb-flush-method=nosync',
  '--innodb-doublewrite=0',
  '--performance-schema=0',
  // As far from what the catalogue wants as an administrator may have put it.
  '--character-set-server=latin1',
  '--default-time-zone=-07:00',
  '--sql-mode=',
];

/** For a server that is to be killed: as one that is meant to survive a crash. */
export const DURABLE = [
  '--innodb-flush-log-at-trx-commit=1',
  '--innodb-doublewrite=1',
  '--innodb-flush-method=O_DIRECT',
];

export interface ServerPlace {
  /** @default {@link MARIADBD} */
  readonly mariadbd?: string;
  /** Where its folder is made; as root, an unprivileged user must be able to get there. @default the system's for temporary files */
  readonly parent?: string;
}

/** A database of a test's own. */
export interface OwnDatabase {
  readonly url: string;
  readonly target: MariaDbTarget;
  /** The server's. */
  readonly dataDirectory: string;
  /** As the server's administrator. */
  readonly query: <T = Record<string, unknown>>(sql: string) => Promise<T[]>;
}

export class MariaDbServer implements AsyncDisposable {
  #process: ChildProcess | undefined;
  #databases = 0;

  readonly #mariadbd: string;

  private constructor(
    private settings: readonly string[],
    { mariadbd = MARIADBD, parent = tmpdir() }: ServerPlace,
  ) {
    this.#mariadbd = mariadbd;
    this.folder = mkdtempSync(join(parent, 'sendense-mariadb-'));
  }

  /**
   * Without accounts: whoever can open the socket may do everything.
   *
   * @param settings more options of mariadbd
   */
  static async start(settings: readonly string[] = [], place: ServerPlace = {}): Promise<MariaDbServer> {
    const server = new MariaDbServer(['--skip-grant-tables', '--skip-networking', ...settings], place);
    mkdirSync(join(server.folder, 'data'));
    await server.begin();
    return server;
  }

  /** With the account `admin` (see {@link adminPassword}), on the socket and on a port of the loopback interface. */
  static async startWithAccounts(
    settings: (folder: string) => readonly string[],
    place: ServerPlace = {},
  ): Promise<MariaDbServer> {
    const server = new MariaDbServer([], place);
    const more = settings(server.folder);
    const data = join(server.folder, 'data');
    mkdirSync(data);
    const { command, args } = installerOf(server.#mariadbd);
    const { install } = unprivileged(server.folder);
    execFileSync(command, [...SMALL_AND_FAST, ...args, `--datadir=${data}`, '--skip-test-db', ...install], {
      stdio: 'pipe',
    });
    const accounts = join(server.folder, 'accounts.sql');
    writeFileSync(
      accounts,
      [
        // Whoever comes without a name comes before everybody with a name and any host.
        "DELETE FROM mysql.global_priv WHERE User = '';",
        'FLUSH PRIVILEGES;',
        `CREATE USER IF NOT EXISTS 'admin'@'%' IDENTIFIED BY '${server.adminPassword}';`,
        "GRANT ALL ON *.* TO 'admin'@'%' WITH GRANT OPTION;\n",
      ].join('\n'),
    );
    server.settings = [`--init-file=${accounts}`, '--bind-address=127.0.0.1', ...more];
    await server.begin();
    return server;
  }

  readonly folder: string;
  readonly adminPassword = randomBytes(12).toString('hex');

  get socket(): string {
    return join(this.folder, 'socket');
  }

  url(database: string): string {
    return `mysql://admin:${this.adminPassword}@localhost/${database}?socket=${this.socket}`;
  }

  /** An empty one. */
  async newDatabase(): Promise<OwnDatabase> {
    const name = `catalog_${++this.#databases}`;
    await this.query(`CREATE DATABASE ${name}`);
    const url = this.url(name);
    return {
      url,
      target: mariaDbTarget(url),
      dataDirectory: join(this.folder, 'data'),
      query: async (sql) => this.query(sql, name),
    };
  }

  async query<T = Record<string, unknown>>(sql: string, database?: string): Promise<T[]> {
    const connection = await createConnection({
      socketPath: this.socket,
      user: 'admin',
      password: this.adminPassword,
      multipleStatements: true,
      ...(database === undefined ? {} : { database }),
    });
    try {
      return await connection.query<T[]>(sql);
    } finally {
      await connection.end();
    }
  }

  /** Starts it, or starts it again, and waits until it answers. */
  async begin(): Promise<void> {
    const { command, args } = unprivileged(this.folder);
    this.#process = await ChildProcess.spawn(
      command,
      [
        ...args,
        this.#mariadbd,
        ...SMALL_AND_FAST,
        `--datadir=${join(this.folder, 'data')}`,
        `--socket=${this.socket}`,
        `--pid-file=${join(this.folder, 'pid')}`,
        ...this.settings,
      ],
      {
        name: 'mariadbd',
        owner: `test-mariadb-${process.pid}`,
        log,
        dieWithParent: false,
        terminateTimeoutMs: 30_000,
      },
    );
    const { exited } = this.#process;
    let ended = false;
    void exited.then(() => (ended = true));
    await eventually('mariadbd answers', async () => {
      if (ended) return 'ended';
      return this.query('SELECT 1');
    });
    if (ended) throw new Error(`mariadbd has ended: ${this.#process.stderrTail()}`);
  }

  /** As a crash does, or a power cut that spares the file system. */
  async kill(): Promise<void> {
    const running = this.#process;
    if (!running) return;
    process.kill(running.pid, 'SIGKILL');
    await running.exited;
  }

  async stop(): Promise<void> {
    await this.#process?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** How to run what must not run as root, and what it needs of the folder. It ends with the test's process in any case. */
function unprivileged(folder: string): { command: string; args: string[]; install: string[] } {
  const args = ['--pdeathsig', 'TERM'];
  const isRoot = process.getuid?.() === 0;
  if (isRoot) {
    execFileSync('chown', ['-R', 'nobody:nogroup', folder]);
    args.push('--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups');
  }
  return { command: 'setpriv', args: [...args, '--'], install: isRoot ? ['--user=nobody'] : [] };
}
