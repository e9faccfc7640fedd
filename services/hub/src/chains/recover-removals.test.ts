import { describe, expect, it } from '@jest/globals';
import type { RestorePointRecord, TaskRecord } from '@sendense/catalog';
import { silentLogger as log } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import type { TaskRequest } from '../tasks/types.js';
import { RemovalRecovery, type RemovalRecoveryOptions } from './recover-removals.js';

/** Points whose removal is not finished, and tasks; what is started becomes one of those. */
class World {
  readonly started: TaskRequest[] = [];
  readonly tasks: Pick<TaskRecord, 'kind' | 'subject' | 'args'>[] = [];
  looks = 0;
  fails = false;

  constructor(readonly removing: readonly Pick<RestorePointRecord, 'id' | 'contextId' | 'repositoryId'>[]) {}

  recovery(everyMs?: number): RemovalRecovery {
    const catalog = {
      restorePoints: {
        removing: () => {
          this.looks++;
          return this.fails ? Promise.reject(new Error('no catalogue')) : Promise.resolve(this.removing);
        },
      },
      tasks: { unfinished: () => Promise.resolve(this.tasks) },
    } as unknown as RemovalRecoveryOptions['catalog'];
    const start = (request: TaskRequest) => {
      this.started.push(request);
      this.tasks.push(request);
      return Promise.resolve({ id: `task-${this.started.length}` } as TaskRecord);
    };
    return new RemovalRecovery({ catalog, tasks: { start }, log, ...(everyMs ? { everyMs } : {}) });
  }

  get subjects(): string[] {
    return this.started.map(({ subject }) => subject.id);
  }
}

const point = (id: string, contextId = 'ctx-1', repositoryId = 'repo') => ({ id, contextId, repositoryId });

describe('removals that were not finished', () => {
  it('go on as tasks of the hub, one for each chain, since any removal finishes the others there', async () => {
    const world = new World([point('a'), point('b'), point('c', 'ctx-2'), point('d', 'ctx-1', 'other')]);
    await using recovery = world.recovery();
    await recovery.start();
    expect(world.subjects).toEqual(['a', 'c', 'd']);
    expect(world.started[0]).toEqual({
      kind: 'remove',
      subject: { type: 'restore_point', id: 'a' },
      args: { context_id: 'ctx-1', repository_id: 'repo' },
      requestedBy: 'hub',
    });
  });

  it('are left to the removal or pruning of that chain that waits or runs already', async () => {
    const world = new World([point('a'), point('b', 'ctx-2')]);
    const args = (context_id: string) => ({ context_id, repository_id: 'repo' });
    world.tasks.push({ kind: 'prune', subject: { type: 'vm', id: 'ctx-1' }, args: args('ctx-1') });
    // This one only reads.
    world.tasks.push({ kind: 'verify', subject: { type: 'restore_point', id: 'x' }, args: args('ctx-2') });
    await using recovery = world.recovery();
    await recovery.start();
    expect(world.subjects).toEqual(['b']);
  });

  it('are looked for again and again: one that failed waits for nobody to ask', async () => {
    const world = new World([point('a')]);
    await using recovery = world.recovery(5);
    await recovery.start();
    world.tasks.length = 0;
    await eventually('it was started again', () => Promise.resolve(world.started.length > 1));
    expect(new Set(world.subjects)).toEqual(new Set(['a']));
  });

  it('are looked for again when the catalogue could not be asked', async () => {
    const world = new World([point('a')]);
    world.fails = true;
    await using recovery = world.recovery();
    await recovery.start();
    expect(world.started).toEqual([]);
    world.fails = false;
    await recovery.look();
    expect(world.subjects).toEqual(['a']);
  });

  it('are not looked for any more once it ended', async () => {
    const world = new World([]);
    {
      await using recovery = world.recovery(1);
      await recovery.start();
      await eventually('it looked', () => Promise.resolve(world.looks > 2));
    }
    const { looks } = world;
    await new Promise((resolve) => setImmediate(resolve));
    expect(world.looks).toBe(looks);
  });
});
