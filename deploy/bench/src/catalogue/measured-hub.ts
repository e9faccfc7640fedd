import { readFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { join, resolve } from 'node:path';
import { SendenseError } from '@sendense/core';
import { ChildProcess, delay, runCommand, silentLogger } from '@sendense/runtime';
import { freePort } from '@sendense/stage';

const HUB = resolve(import.meta.dirname, '../../../../../bin/sendense-hub');
const OWNER = `bench-catalogue-${process.pid}`;
/** For a hub that has to look at some gigabytes first. */
const START_TIMEOUT_MS = 300_000;

/** Where a hub keeps its things, and with what it starts. */
export interface HubHome {
  readonly directory: string;
  readonly settings: Readonly<Record<string, string>>;
}

/** The settings of a hub that does nothing on its own account. @param database undefined is SQLite */
export async function hubHome(directory: string, database?: string): Promise<HubHome> {
  return {
    directory,
    settings: {
      SENDENSE_API_LISTEN: `127.0.0.1:${await freePort()}`,
      SENDENSE_TUNNEL_LISTEN: `127.0.0.1:${await freePort()}`,
      SENDENSE_TUNNEL_WORKERS: '1',
      SENDENSE_DATA_DIR: join(directory, 'data'),
      SENDENSE_RUNTIME_DIR: join(directory, 'run'),
      SENDENSE_LOG_LEVEL: 'info',
      // The files of these restore points do not exist.
      SENDENSE_VERIFY_EVERY_DAYS: '0',
      ...(database === undefined ? {} : { SENDENSE_DATABASE_URL: database }),
    },
  };
}

/** A token of an administrator. */
export async function makeToken({ settings }: HubHome): Promise<string> {
  const args = ['token', 'create', '--name', 'bench', '--role', 'admin'];
  const { stdout } = await runCommand(HUB, args, {
    code: 'process_failed',
    what: 'making a token',
    env: settings,
  });
  return stdout.trim();
}

/** `sendense-hub run`, asked over HTTP as its clients ask it. */
export class MeasuredHub implements AsyncDisposable {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  private constructor(
    private readonly process: ChildProcess,
    private readonly url: string,
    private readonly token: string,
    /** From the start of the process until its API answered. */
    readonly startSeconds: number,
  ) {}

  static async start(home: HubHome, token: string): Promise<MeasuredHub> {
    const begun = performance.now();
    let runs = false;
    const process = await ChildProcess.spawn(HUB, ['run'], {
      name: 'sendense-hub',
      owner: OWNER,
      log: silentLogger,
      env: home.settings,
      terminateTimeoutMs: 60_000,
      filterLine: (line) => {
        runs ||= line.includes('"the hub runs"');
        return line;
      },
    });
    while (!runs) {
      if (!process.running || performance.now() - begun > START_TIMEOUT_MS) {
        await process.terminate();
        throw new SendenseError('process_failed', `the hub does not start: ${process.stderrTail()}`);
      }
      await delay(10);
    }
    const url = `http://${home.settings['SENDENSE_API_LISTEN']}`;
    return new MeasuredHub(process, url, token, (performance.now() - begun) / 1000);
  }

  /** The whole request, until the last byte of the answer is here. @throws when the answer is not 200 */
  get(path: string): Promise<{ readonly ms: number; readonly text: string }> {
    return new Promise((resolve, reject) => {
      const begun = performance.now();
      const headers = { authorization: `Bearer ${this.token}` };
      const request = get(`${this.url}${path}`, { agent: this.#agent, headers }, (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => (text += part));
        response.on('end', () => {
          if (response.statusCode === 200) resolve({ ms: performance.now() - begun, text });
          else reject(new SendenseError('internal', `GET ${path}: ${response.statusCode} ${text}`));
        });
      });
      request.on('error', reject);
    });
  }

  /** @returns its id */
  async addRepository(name: string, path: string): Promise<string> {
    const answer = await fetch(`${this.url}/api/v1/repositories`, {
      method: 'POST',
      headers: { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ name, type: 'local', path }),
    });
    const body = (await answer.json()) as { repository_id?: string };
    if (body.repository_id === undefined)
      throw new SendenseError('internal', `adding a repository: ${JSON.stringify(body)}`);
    return body.repository_id;
  }

  /** Resident: now, and at its highest since the start. */
  memoryMib(): { readonly now: number; readonly peak: number } {
    const status = readFileSync(`/proc/${this.process.pid}/status`, 'utf8');
    const mib = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0) / 1024;
    return { now: Math.round(mib('VmRSS')), peak: Math.round(mib('VmHWM')) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    await this.process.terminate();
  }
}
