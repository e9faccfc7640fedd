import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { RestorePointRecord } from '@sendense/catalog';
import { processesOwnedBy, runCommand, silentLogger } from '@sendense/runtime';
import { eventually, requires } from '@sendense/runtime/testing';
import { ownerMark } from '../src/config.js';
import { createHub, type Hub } from '../src/hub.js';
import { HubProcess } from '../src/testing/hub-process.js';
import { testConfig } from '../src/testing/test-hub.js';
import { ChainStage, type ChainVm } from './stage/chain-stage.js';

const MIB = 2 ** 20;
const KIB = 1024;

interface TaskAnswer {
  readonly task_id: string;
  readonly state: string;
  readonly waiting_for: string | null;
  readonly bytes_done: number | null;
  readonly bytes_total: number | null;
  readonly error: { code: string; message: string; context: Record<string, string> } | null;
  readonly result: Record<string, unknown> | null;
}

requires(
  describe,
  'qemu-img',
  'qemu-nbd',
  'qemu-io',
)('the export of a restore point', () => {
  let stage: ChainStage;
  let vm: ChainVm;
  let full: RestorePointRecord;
  let last: RestorePointRecord;
  let hub: Hub | undefined;
  let url: string;
  let token: string;

  const target = () => join(stage.folder, 'exports');
  const settings = () => ({ SENDENSE_EXPORT_DIR: target() });

  beforeEach(async () => {
    stage = await ChainStage.create();
    mkdirSync(target());
    // The second disk ends in the middle of a block.
    vm = stage.vm('pgtest1', [4 * MIB, 2 * MIB + 512]);
    vm.disks[0]!.fill(0, MIB);
    vm.disks[0]!.fill(3 * MIB, 256 * KIB);
    vm.disks[1]!.fill(MIB, MIB + 512);
    full = await vm.seal('full');
    vm.disks[0]!.fill(512 * KIB, 64 * KIB, 'changed');
    vm.disks[0]!.zero(3 * MIB, 128 * KIB);
    await vm.seal('incremental');
    vm.disks[0]!.fill(2 * MIB, 64 * KIB, 'new');
    last = await vm.seal('incremental');
    ({ token } = await stage.catalog.tokens.create({ name: 'operator', role: 'admin' }));
  });
  afterEach(async () => {
    await hub?.[Symbol.asyncDispose]();
    hub = undefined;
    expect(processesOwnedBy(ownerMark(join(stage.folder, 'data')))).toEqual([]);
    await stage[Symbol.asyncDispose]();
  });

  async function start(more: Record<string, string> = {}): Promise<void> {
    hub = await createHub(testConfig(stage.folder, { ...settings(), ...more }), silentLogger);
    const { host, port } = hub.apiAddress;
    url = `http://${host}:${port}`;
  }
  async function call(method: string, path: string, body?: object) {
    const response = await fetch(`${url}/api/v1/${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    return {
      status: response.status,
      body: (await response.json()) as TaskAnswer & { code: string; detail: string },
    };
  }
  const ask = (body: object, point = last) => call('POST', `restore-points/${point.id}/export`, body);
  const task = async (id: string) => (await call('GET', `tasks/${id}`)).body;
  const ended = (id: string) =>
    eventually('the task ends', async () => {
      const now = await task(id);
      return ['completed', 'failed', 'cancelled'].includes(now.state) ? now : undefined;
    });
  async function exported(body: object, point = last): Promise<TaskAnswer> {
    const asked = await ask(body, point);
    expect(asked.status).toBe(202);
    return ended(asked.body.task_id);
  }
  const content = (disk: number, point = last) => vm.disks[disk]!.history.get(point.id)!;
  const flip = (point: RestorePointRecord, offset: number) =>
    runCommand(
      'qemu-io',
      ['-f', 'qcow2', '-c', `write -P 0x5a ${offset} 1`, stage.at(point.disks[0]!.imagePath)],
      { code: 'process_failed', what: 'flipping a byte' },
    );
  /** A qemu-img that converts nothing, and does not end. */
  function stuckQemuImg(): string {
    const path = join(stage.folder, 'stuck-qemu-img');
    writeFileSync(path, '#!/bin/sh\n[ "$1" = convert ] && exec sleep 1000\nexec qemu-img "$@"\n');
    chmodSync(path, 0o755);
    return path;
  }
  const parts = () => readdirSync(target()).filter((name) => name.startsWith('.'));

  it('writes every disk as it was at the source, in a folder that is complete when it appears', async () => {
    await start();
    for (const [name, point] of [
      ['of-last', last],
      ['of-full', full],
    ] as const) {
      const done = await exported({ to: name }, point);
      expect(done).toMatchObject({
        ...{ state: 'completed', bytes_done: 6 * MIB + 512, bytes_total: 6 * MIB + 512 },
        result: { path: join(target(), name), format: 'raw' },
      });
      expect(readdirSync(join(target(), name))).toEqual(['pgtest1-disk0.raw', 'pgtest1-disk1.raw']);
      for (const disk of [0, 1])
        expect(
          readFileSync(join(target(), name, `pgtest1-disk${disk}.raw`)).equals(content(disk, point)),
        ).toBe(true);
    }
    expect(statSync(join(target(), 'of-last/pgtest1-disk0.raw')).blocks * 512).toBeLessThan(2 * MIB);
    expect(parts()).toEqual([]);
  });

  it('writes the formats of other hypervisors, of the disks that are asked for', async () => {
    await start();
    for (const format of ['qcow2', 'vmdk', 'vhdx']) {
      expect(await exported({ to: format, format, disk_keys: [2000] })).toMatchObject({ state: 'completed' });
      expect(readdirSync(join(target(), format))).toEqual([`pgtest1-disk0.${format}`]);
      const raw = join(stage.folder, `${format}.raw`);
      const from = join(target(), format, `pgtest1-disk0.${format}`);
      await runCommand('qemu-img', ['convert', '-f', format, '-O', 'raw', from, raw], {
        ...{ code: 'process_failed', what: 'reading it back' },
      });
      expect(
        readFileSync(raw)
          .subarray(0, 4 * MIB)
          .equals(content(0)),
      ).toBe(true);
    }
  });

  it('fails at a block that is not what was read at the source, names disk and offset, and leaves nothing', async () => {
    await start();
    await flip(full, 256 * KIB + 77);
    expect(await exported({ to: 'x' })).toMatchObject({
      state: 'failed',
      error: { code: 'verification_failed', context: { disk_key: '2000', offset: String(256 * KIB) } },
    });
    expect(readdirSync(target())).toEqual([]);
    expect(await stage.catalog.restorePoints.get(last.id)).toMatchObject({
      suspect: true,
      verification: 'failed',
    });
    const refused = await ask({ to: 'x' });
    expect(refused.body).toMatchObject({ code: 'restore_point_suspect' });
    expect(await exported({ to: 'x', accept_suspect: true })).toMatchObject({ state: 'failed' });
    expect(await exported({ to: 'other-disk', disk_keys: [2001], accept_suspect: true })).toMatchObject({
      state: 'completed',
    });
  });

  it('refuses names that are taken or lead elsewhere, disks that are not there, and what is not asked properly', async () => {
    await start();
    mkdirSync(join(target(), 'taken'));
    symlinkSync('/nonexistent', join(target(), 'link'));
    for (const to of ['taken', 'link'])
      expect((await ask({ to })).body).toMatchObject({ code: 'already_exists' });
    for (const to of ['../x', '/tmp/x', 'a/b', '.x', '..', '-rf', 'a b', 'x\0y', 'é', 'x'.repeat(101), ''])
      expect((await ask({ to })).body).toMatchObject({ code: 'invalid_argument' });
    expect((await ask({ to: 'x', disk_keys: [3000] })).body).toMatchObject({ code: 'not_found' });
    expect((await ask({ to: 'x', format: 'vdi' })).body).toMatchObject({ code: 'invalid_argument' });
    expect(readdirSync(target()).toSorted()).toEqual(['link', 'taken']);
  });

  it('says what to do when there is no directory for exports, or it is no place for them', async () => {
    await start({ SENDENSE_EXPORT_DIR: '' });
    expect((await ask({ to: 'x' })).body).toMatchObject({
      ...{ code: 'export_directory_missing', detail: expect.stringContaining('SENDENSE_EXPORT_DIR') },
    });
    await hub![Symbol.asyncDispose]();
    await start({ SENDENSE_EXPORT_DIR: join(stage.folder, 'absent') });
    expect((await ask({ to: 'x' })).body.detail).toContain('install -d -m 750');
    await hub![Symbol.asyncDispose]();
    await start({ SENDENSE_EXPORT_DIR: stage.repository.path });
    expect(await exported({ to: 'x' })).toMatchObject({ state: 'failed', error: { code: 'conflict' } });
  });

  it('keeps removals of its chain waiting, and leaves nothing when it is cancelled', async () => {
    await start({ SENDENSE_QEMU_IMG: stuckQemuImg() });
    const { task_id: id } = (await ask({ to: 'x', format: 'qcow2' })).body;
    const running = await eventually('it converts', async () => {
      const now = await task(id);
      return now.bytes_done === 4 * MIB && parts().length === 1 ? now : undefined;
    });
    expect(running).toMatchObject({ state: 'running', bytes_total: 2 * (6 * MIB + 512) });
    const removal = (await call('DELETE', `restore-points/${full.id}`)).body;
    expect(await task(removal.task_id)).toMatchObject({ state: 'queued', waiting_for: id });
    await call('POST', `tasks/${id}/cancel`, {});
    expect(await ended(id)).toMatchObject({ state: 'cancelled' });
    expect(readdirSync(target())).toEqual([]);
    expect(await ended(removal.task_id)).toMatchObject({ state: 'completed' });
    expect(await exported({ to: 'after' })).toMatchObject({ state: 'completed' });
    expect(readFileSync(join(target(), 'after/pgtest1-disk0.raw')).equals(content(0))).toBe(true);
  });

  it('leaves nothing behind after kill -9 once the hub is started again', async () => {
    await using process_ = await HubProcess.spawn(['run'], {
      folder: stage.folder,
      settings: { ...settings(), SENDENSE_QEMU_IMG: stuckQemuImg() },
    });
    url = await process_.url();
    const { task_id: id } = (await ask({ to: 'x', format: 'qcow2' })).body;
    await eventually('it converts', async () => (await task(id)).bytes_done === 4 * MIB);
    writeFileSync(join(target(), '.of-another-hub.part-0123456789ab-task-export-1'), '');
    process_.kill('SIGKILL');
    await process_.exited;
    expect(parts()).toHaveLength(2);
    expect(existsSync(join(target(), 'x'))).toBe(false);
    await start();
    expect(parts()).toEqual(['.of-another-hub.part-0123456789ab-task-export-1']);
    expect(await task(id)).toMatchObject({ state: 'failed', error: { code: 'hub_restarted' } });
    expect(await exported({ to: 'x' })).toMatchObject({ state: 'completed' });
  });
});
