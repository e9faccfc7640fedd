// A hub for the tests of commands: it answers as it was told to, and remembers what it was asked.
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ApiClient } from '../src/client.js';
import type { CommandContext } from '../src/command-context.js';
import { runProgram } from '../src/program.js';

export interface Asked {
  /** `GET /api/v1/tasks?limit=50` */
  readonly what: string;
  readonly body: unknown;
  readonly authorization?: string | undefined;
}

export interface Answer {
  readonly status?: number;
  readonly body?: unknown;
}

export interface Ran {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
  /** What was drawn, one after another. */
  readonly drawn: readonly string[];
}

export class FakeHub implements AsyncDisposable {
  readonly asked: Asked[] = [];
  readonly #answers = new Map<string, Answer[]>();

  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async start(): Promise<FakeHub> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const hub = new FakeHub(server, `http://127.0.0.1:${port}`);
    server.on('request', (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const what = `${request.method ?? ''} ${request.url ?? ''}`;
        const { authorization } = request.headers;
        hub.asked.push({ what, body: text === '' ? undefined : JSON.parse(text), authorization });
        const { status = 200, body } = hub.#next(what);
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(body === undefined ? undefined : JSON.stringify(body));
      });
    });
    return hub;
  }

  /** What is answered to a request, the first time, the second, …; the last one stays. */
  answers(what: string, ...answers: Answer[]): void {
    this.#answers.set(what, answers);
  }

  async run(args: readonly string[], o: { tty?: boolean; env?: NodeJS.ProcessEnv } = {}): Promise<Ran> {
    const api = new ApiClient(this.url, undefined);
    const out: string[] = [];
    const err: string[] = [];
    const drawn: string[] = [];
    const context: CommandContext = {
      env: o.env ?? {},
      tty: o.tty ?? false,
      api: () => api,
      print: (text) => out.push(text),
      note: (text) => err.push(text),
      draw: (text) => drawn.push(text),
      askSecret: () => Promise.resolve(undefined),
      pause: () => Promise.resolve(),
      exitCode: 0,
    };
    const exitCode = await runProgram(context, args);
    return { exitCode, out: out.join('\n'), err: err.join('\n'), drawn };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  #next(what: string): Answer {
    const [first, ...rest] = this.#answers.get(what) ?? [];
    if (!first) return { status: 404, body: { code: 'not_found', detail: `nothing is at ${what}` } };
    if (rest.length > 0) this.#answers.set(what, rest);
    return first;
  }
}
