import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import type { TaskRecord } from '@sendense/catalog';
import { createLogger, OwnedStack, silentLogger, type Logger, type PortRange } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import type { TaskRequest } from '../../src/tasks/types.js';
import { FakeNode } from '../stage/fake-node.js';
import { freePortRange } from '../stage/spine.js';
import { Counts } from './counts.js';
import { ModelHub, type HubPlace } from './model-hub.js';

/** What the sequences of one process share: a node, and a hub that is started again as often as they like. */
export class World implements AsyncDisposable {
  readonly counts = new Counts();
  /** What the hub logged since somebody emptied it. */
  logged: string[] = [];
  #hub: ModelHub | undefined;

  private constructor(
    readonly node: FakeNode,
    readonly folder: string,
    private readonly ports: PortRange,
    private readonly owned: OwnedStack,
  ) {}

  static async create(directory: string): Promise<World> {
    await using owned = new OwnedStack(silentLogger);
    const folder = mkdtempSync(join(directory, 'w-'));
    owned.defer('folder', () => rmSync(folder, { recursive: true, force: true }));
    const node = owned.use('node', await FakeNode.start());
    const world = new World(node, folder, await freePortRange(8), owned.move());
    await world.startHub();
    return world;
  }

  get hub(): ModelHub {
    if (!this.#hub) throw new Error('the hub does not run');
    return this.#hub;
  }

  get repositoryPath(): string {
    return join(this.folder, 'repository');
  }

  get place(): HubPlace {
    const { name, socketPath } = this.node;
    return { node: { name, socketPath, connected: true }, folder: this.folder, ports: this.ports };
  }

  async startHub(): Promise<void> {
    this.#hub = await ModelHub.start(this.place, this.#logger());
  }

  async stopHub(): Promise<void> {
    await this.#hub?.[Symbol.asyncDispose]();
    this.#hub = undefined;
  }

  async runTask(request: TaskRequest): Promise<TaskRecord> {
    return this.endOfTask((await this.hub.tasks.start(request)).id);
  }

  endOfTask(id: string): Promise<TaskRecord> {
    const { catalog } = this.hub.spine;
    return eventually(`${id} has ended`, async () => {
      const task = await catalog.tasks.get(id);
      return task.state === 'queued' || task.state === 'running' ? undefined : task;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopHub();
    await this.owned[Symbol.asyncDispose]();
  }

  #logger(): Logger {
    const destination = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        const line = String(chunk);
        this.logged.push(line);
        const merged = /"method":"(commit|pull)".*"msg":"disk merged"/.exec(line)?.[1];
        if (merged !== undefined) this.counts.add(`merges by ${merged}`);
        done();
      },
    });
    return createLogger({ service: 'model', destination });
  }
}
