import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { PortRange } from '@sendense/runtime';
import { eventually, requires } from '@sendense/runtime/testing';
import type { Phase } from './stage/fake-job.js';
import { FakeNode } from './stage/fake-node.js';
import type { FakeVm } from './stage/fake-vm.js';
import type { FromProcess, SpineProcessSpec, ToProcess } from './stage/spine-process.js';
import { freePortRange, NOTHING_LEFT, ownerOf, Spine, type SpineOptions } from './stage/spine.js';

const MIB = 2 ** 20;
const ENTRY = fileURLToPath(new URL('./stage/spine-process.js', import.meta.url));

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('a hub that was killed and started again', () => {
  let folder: string;
  let ports: PortRange;
  let node: FakeNode;
  let vm: FakeVm;
  let contextId: string;
  const children: ChildProcess[] = [];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sdk-'));
    ports = await freePortRange(4);
    node = await FakeNode.start();
    vm = node.addVm('pgtest1', [
      { key: 2000, sizeBytes: 4 * MIB },
      { key: 2001, sizeBytes: 2 * MIB },
    ]);
    await using spine = await Spine.start(node, { folder, ports });
    contextId = await spine.protect(vm);
  });

  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    await node[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  async function startHub(options: SpineOptions = {}): Promise<ChildProcess> {
    const spec: SpineProcessSpec = {
      nodeName: node.name,
      socketPath: node.socketPath,
      options: { folder, ports, ...options },
    };
    const child = fork(ENTRY, [JSON.stringify(spec)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    children.push(child);
    await once(child, 'message');
    return child;
  }

  /** @returns the backup's id */
  async function startBackup(hub: ChildProcess, spine: Pick<Spine, 'request'>, context = contextId) {
    const message: ToProcess = { start: await spine.request(context) };
    hub.send(message);
    const [answer] = (await once(hub, 'message')) as [FromProcess];
    return 'started' in answer ? answer.started : JSON.stringify(answer);
  }

  async function kill(hub: ChildProcess): Promise<void> {
    hub.kill('SIGKILL');
    if (hub.exitCode === null && hub.signalCode === null) await once(hub, 'exit');
  }

  /** The same folder, without runs. */
  async function requester(): Promise<Pick<Spine, 'request'>> {
    await using spine = await Spine.start(node, { folder, ports });
    const { id: repositoryId } = await spine.repository();
    return {
      request: async (id) => ({
        contextId: id,
        repositoryId,
        type: 'full',
        quiesce: false,
        requestedBy: 'test',
      }),
    };
  }

  async function endsFailed(backupId: string, state: RegExp): Promise<void> {
    await using spine = await Spine.start(node, { folder, ports });
    expect(await spine.end(backupId)).toMatchObject({
      state: 'failed',
      error: { code: 'hub_restarted', message: expect.stringMatching(state) },
    });
    await eventually('nothing is left', async () => {
      expect(await spine.leftovers(node)).toEqual(NOTHING_LEFT);
      return true;
    });
    expect(await spine.files()).toEqual([]);
    expect(node.jobs.size).toBe(0);
    const { snapshot } = await spine.catalog.backups.get(backupId);
    expect(snapshot ?? { removedAt: new Date() }).toMatchObject({ removedAt: expect.any(Date) });
    expect(await spine.backUp(contextId)).toMatchObject({ state: 'completed' });
  }

  const phases: [Phase, RegExp][] = [
    ['accepted', /preparing|running/],
    ['snapshot', /preparing|running/],
    ['copying', /preparing|running/],
    ['copied', /running/],
    ['removing', /running/],
    ['hashes', /sealing/],
  ];
  it.each(phases)('fails the backup whose job was at: %s', async (phase, state) => {
    const hold = node.hold(phase);
    const requests = await requester();
    const hub = await startHub();
    const id = await startBackup(hub, requests);
    await hold.reached;
    await kill(hub);
    // It waits there until it is cancelled, and has ended already when only its hashes were fetched.
    const job = node.jobs.get(id)!;
    void Promise.race([job.ended, once(job.stop.signal, 'abort')]).then(() => hold.release());
    await endsFailed(id, state);
  });

  it('fails the backup whose images were being made', async () => {
    const slow = join(folder, 'slow-img');
    writeFileSync(slow, `#!/bin/sh\ntouch ${slow}.started\nexec sleep 600\n`);
    chmodSync(slow, 0o755);
    const requests = await requester();
    const hub = await startHub({ qemuImg: slow });
    hub.send({ start: await requests.request(contextId) } satisfies ToProcess);
    await eventually('qemu-img runs', () => existsSync(`${slow}.started`));
    await kill(hub);
    await using spine = await Spine.start(node, { folder, ports });
    const [record] = (await spine.catalog.backups.list()).items;
    expect(record).toMatchObject({ state: 'failed', error: { code: 'hub_restarted' } });
    expect(await spine.files()).toEqual([]);
  });

  it('fails the backup whose image was being checked', async () => {
    const slow = join(folder, 'slow-check');
    writeFileSync(
      slow,
      `#!/bin/sh\nif [ "$1" = check ]; then touch ${slow}.started; exec sleep 600; fi\nexec qemu-img "$@"\n`,
    );
    chmodSync(slow, 0o755);
    const requests = await requester();
    const hub = await startHub({ qemuImg: slow });
    const id = await startBackup(hub, requests);
    await eventually('qemu-img checks', () => existsSync(`${slow}.started`));
    await kill(hub);
    await endsFailed(id, /sealing/);
  });

  it('fails the backups that waited in its queue', async () => {
    const hold = node.hold('copying');
    const requests = await requester();
    const other = node.addVm('other', [{ key: 2000, sizeBytes: MIB }]);
    const otherContext = await (async () => {
      await using spine = await Spine.start(node, { folder, ports });
      return await spine.protect(other);
    })();
    const hub = await startHub({ limits: { total: 1 } });
    const first = await startBackup(hub, requests);
    await hold.reached;
    const second = await startBackup(hub, requests, otherContext);
    await kill(hub);
    await using spine = await Spine.start(node, { folder, ports });
    for (const id of [first, second])
      expect(await spine.catalog.backups.get(id)).toMatchObject({
        state: 'failed',
        error: { code: 'hub_restarted' },
      });
    await eventually('nothing is left', async () => {
      expect(await spine.leftovers(node)).toEqual(NOTHING_LEFT);
      return true;
    });
  });

  it('cleans up on a node that comes back later', async () => {
    const hold = node.hold('copying');
    const requests = await requester();
    const hub = await startHub();
    await startBackup(hub, requests);
    await hold.reached;
    await kill(hub);
    node.cut();
    await using spine = await Spine.start(node, { folder, ports });
    expect(await spine.files()).toEqual([]);
    expect(await spine.leftovers(node)).toMatchObject({
      snapshots: 1,
      cleanups: ['settle_job'],
      processes: [],
    });
    await node.connect();
    spine.runs.nodeConnected('berlin');
    await eventually('nothing is left', async () => {
      expect(await spine.leftovers(node)).toEqual(NOTHING_LEFT);
      return true;
    });
  });

  it('ends processes that an earlier hub left behind', async () => {
    const orphan = spawn('sleep', ['600'], { env: { ...process.env, SENDENSE_OWNER: ownerOf(folder) } });
    const ended = once(orphan, 'exit');
    await using _spine = await Spine.start(node, { folder, ports });
    expect(await ended).toEqual([null, 'SIGTERM']);
  });

  it('shows the end of a backup of its earlier life to those who follow it', async () => {
    const { id } = await (async () => {
      await using spine = await Spine.start(node, { folder, ports });
      return await spine.backUp(contextId);
    })();
    await using spine = await Spine.start(node, { folder, ports });
    const seen: unknown[] = [];
    for await (const event of spine.runs.events(id, 40)) seen.push(event);
    expect(seen).toMatchObject([{ sequence: 41, type: 'state', state: 'completed' }]);
  });
});
