import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { LabVm } from '@sendense/lab';
import { eventually, requires } from '@sendense/runtime/testing';
import {
  backUpByHand,
  eventsOf,
  LAB_TOOLS,
  processesOf,
  startByHand,
  startStage,
  type ByHandRequest,
  type ByHandRun,
  type Stage,
} from './lab-stage.js';

const MIB = 1024 * 1024;

let stage: Stage;
let vm: LabVm;

requires(describe, ...LAB_TOOLS)('a backup by hand that cannot succeed', () => {
  beforeAll(async () => {
    stage = await startStage();
    vm = await stage.lab.createVm({
      name: 'pgtest1',
      disks: [{ sizeBytes: 64 * MIB }, { sizeBytes: 32 * MIB, controller: 'scsi1' }],
    });
    for (const { key } of vm.disks)
      await stage.lab.guestWrite(vm.moref, key, { offset: 0, random: String(key), length: 24 * MIB });
  });
  afterAll(async () => {
    await stage[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    stage.lab.clearFaults();
    const left = stage.lab.snapshots(vm.moref);
    for (const { moref } of left) await stage.lab.removeSnapshot(vm.moref, moref);
    expect(left.map(({ name }) => name)).toEqual([]);
    await eventually('no nbdkit is left', async () => (await processesOf(stage, 'nbdkit')).length === 0);
    expect(readdirSync(join(stage.folder, 'tmp'))).toEqual([]);
  });

  let jobs = 0;
  async function attempt(request: Partial<ByHandRequest> = {}): Promise<ByHandRun & { code: number | null }> {
    await using targets = await stage.serve(vm);
    return await backUpByHand(stage, { vm, targets: targets.text, jobId: `attempt-${++jobs}`, ...request });
  }
  /** The code of the `failed` event, or the one that was printed when it did not come so far. */
  const codeOf = ({ events, stderr }: ByHandRun) =>
    eventsOf(events, 'failed')[0]?.code ?? /\[(\w+)\]\s*$/.exec(stderr())?.[1];

  it('without a thumbprint shows the presented one and sends nothing', async () => {
    const logins = stage.lab.journal().operations['Login'] ?? 0;
    const run = await attempt({ options: { '--vmware-thumbprint': undefined } });
    expect(run.code).toBe(1);
    expect(run.stderr()).toContain(stage.lab.thumbprints.sha256);
    expect(codeOf(run)).toBe('vcenter_thumbprint_unconfirmed');
    expect(stage.lab.journal().operations['Login'] ?? 0).toBe(logins);
  });

  const wrongCalls: [what: string, options: Record<string, string>, code: string][] = [
    ['a wrong thumbprint', { '--vmware-thumbprint': 'ab'.repeat(32) }, 'vcenter_thumbprint_mismatch'],
    ['a wrong user', { '--vmware-username': 'nobody' }, 'vcenter_login_failed'],
    ['a vCenter that is not there', { '--vmware-endpoint': 'https://127.0.0.1:1' }, 'vcenter_unreachable'],
    ['an unknown VM', { '--vmware-path': '/DC0/vm/nobody' }, 'vm_not_found'],
    ['a disk that the VM does not have', { '--nbd-targets': '2005:nbd://127.0.0.1:1/x' }, 'invalid_argument'],
    ['a target that is not there', { '--nbd-targets': '2000:nbd://127.0.0.1:1/x' }, 'nbd_connection_lost'],
    ['a password file that is not there', { '--vmware-password-file': '/nowhere' }, 'invalid_argument'],
  ];
  it.each(wrongCalls)('names %s', async (_what, options, code) => {
    const run = await attempt({ options });
    expect(codeOf(run)).toBe(code);
    expect(run.code).not.toBe(0);
  });

  const missing: [what: string, env: Record<string, string>, code: string][] = [
    ['nbdkit', { SENDENSE_NBDKIT: '/nowhere/nbdkit' }, 'nbdkit_missing'],
    ['the plugin', { SENDENSE_NBDKIT_VDDK_PLUGIN: '/nowhere/plugin.so' }, 'vddk_plugin_missing'],
    ['the VDDK folder', { SENDENSE_VDDK_LIBDIR: '/nowhere/vddk' }, 'vddk_library_missing'],
  ];
  it.each(missing)('names what is missing before it takes a snapshot: %s', async (_what, env, code) => {
    const run = await attempt({ env });
    expect(codeOf(run)).toBe(code);
    expect(eventsOf(run.events, 'failed')[0]!.message).toMatch(/SENDENSE_/);
    expect(eventsOf(run.events, 'snapshotCreated')).toEqual([]);
  });

  it('says that VDDK has none of the transports that are set', async () => {
    const run = await attempt({ env: { SENDENSE_VDDK_TRANSPORTS: 'san:hotadd' } });
    expect(codeOf(run)).toBe('nbdkit_failed');
    expect(eventsOf(run.events, 'failed')[0]!.message).toContain('none of the requested transport modes');
  });

  it('never shows the password', async () => {
    for (const env of [{}, { SENDENSE_VDDK_LIBDIR: '/nowhere' }]) {
      const run = await attempt({ env });
      expect(JSON.stringify(run.events, (_, value) => String(value)) + run.stderr()).not.toContain(
        stage.lab.password,
      );
    }
  });

  it('names a snapshot that cannot be created', async () => {
    stage.lab.setFault({
      operation: 'CreateSnapshot_Task',
      fault: 'FileFault',
      message: 'the datastore is full',
    });
    const run = await attempt();
    expect(codeOf(run)).toBe('snapshot_create_failed');
    expect(eventsOf(run.events, 'failed')[0]).toMatchObject({
      message: expect.stringContaining('the datastore is full'),
      context: expect.objectContaining({ fault: 'FileFault' }),
    });
  });

  it('removes the snapshot whose creation was answered by a dropped connection', async () => {
    const before = stage.lab.snapshotHistory(vm.moref);
    stage.lab.setFault({ operation: 'CreateSnapshot_Task', stage: 'call', drop: 'after', times: 1 });
    const run = await attempt();
    const after = stage.lab.snapshotHistory(vm.moref);
    expect(after.created - before.created).toBe(after.removed - before.removed);
    expect(run.events.at(-1)?.event?.$case).toBe('failed');
  });

  it('ends well with a warning when only the snapshot cannot be removed, and the next one sweeps it', async () => {
    stage.lab.setFault({
      operation: 'RemoveSnapshot_Task',
      fault: 'GenericVmConfigFault',
      message: 'locked',
    });
    const run = await attempt({ jobId: 'left-behind' });
    expect({ code: run.code, failed: eventsOf(run.events, 'failed') }).toEqual({ code: 0, failed: [] });
    expect(eventsOf(run.events, 'warning')).toMatchObject([{ code: 'snapshot_remove_failed' }]);
    expect(stage.lab.snapshots(vm.moref)).toHaveLength(1);
    stage.lab.clearFaults();
    expect((await attempt({ jobId: 'left-behind' })).code).toBe(0);
  });

  it('tries a removal again that failed once', async () => {
    stage.lab.setFault({ operation: 'RemoveSnapshot_Task', fault: 'TaskInProgress', times: 1 });
    const run = await attempt();
    expect({ code: run.code, failed: eventsOf(run.events, 'failed') }).toEqual({ code: 0, failed: [] });
    expect(eventsOf(run.events, 'warning')).toEqual([]);
  });

  it('consolidates when a removal left that to do', async () => {
    stage.lab.setFault({ operation: 'consolidate', times: 1 });
    const run = await attempt();
    expect(eventsOf(run.events, 'snapshotRemoved')).toMatchObject([{ consolidated: true }]);
    expect(stage.lab.vm(vm.moref).consolidationNeeded).toBe(false);
  });

  /** Slow enough to be met in the middle. */
  const slow = ['--rate-limit', String(12 * MIB)];
  async function meetInTheMiddle(
    meet: (run: ByHandRun) => unknown,
  ): Promise<ByHandRun & { code: number | null }> {
    await using targets = await stage.serve(vm);
    const jobId = `attempt-${++jobs}`;
    const run = startByHand(stage, {
      vm,
      targets: targets.text,
      jobId,
      more: slow,
    });
    await eventually('bytes flow', () =>
      eventsOf(run.events, 'progress').some(({ disks }) => disks.some(({ bytesDone }) => bytesDone > 0n)),
    );
    await meet(run);
    return { ...run, code: await run.ended };
  }

  it('removes its snapshot when it is stopped by SIGTERM or SIGINT', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const run = await meetInTheMiddle(({ process }) => process.kill(signal));
      expect(eventsOf(run.events, 'failed')).toMatchObject([
        { code: 'cancelled', message: expect.stringContaining(signal) },
      ]);
      expect(run.code).toBe(1);
    }
  });

  it('says that nbdkit was killed', async () => {
    const run = await meetInTheMiddle(async () => {
      const [pid] = await processesOf(stage, 'nbdkit');
      process.kill(pid!, 'SIGKILL');
    });
    expect(eventsOf(run.events, 'failed')).toMatchObject([
      { code: 'nbdkit_died', message: expect.stringContaining('SIGKILL') },
    ]);
  });

  it('says what VDDK said of a read that failed, or when it crashed', async () => {
    stage.lab.setFault({ operation: 'vddk.read', fault: '14009', after: 5 });
    const failing = await attempt();
    expect(eventsOf(failing.events, 'failed')).toMatchObject([{ code: 'nbd_read_failed' }]);
    stage.lab.clearFaults();
    stage.lab.setFault({ operation: 'vddk.read', crash: true, after: 5 });
    expect(codeOf(await attempt())).toBe('nbdkit_died');
  });

  it('says that a target is gone', async () => {
    await using targets = await stage.serve(vm);
    const run = startByHand(stage, {
      vm,
      targets: targets.text,
      jobId: `attempt-${++jobs}`,
      more: slow,
    });
    await eventually('bytes flow', () => eventsOf(run.events, 'progress').length > 0);
    process.kill(targets.servers.get(vm.disks[0]!.key)!.pid, 'SIGKILL');
    await run.ended;
    expect(codeOf(run)).toBe('nbd_connection_lost');
  });

  it('goes on through a session that expired in the middle', async () => {
    const run = await meetInTheMiddle(() => stage.lab.expireSessions());
    expect({ code: run.code, failed: eventsOf(run.events, 'failed') }).toEqual({ code: 0, failed: [] });
    expect(eventsOf(run.events, 'snapshotRemoved')).toHaveLength(1);
  });

  it('keeps a good copy when vCenter is gone at its end, and says what is left there', async () => {
    const run = await meetInTheMiddle(() =>
      stage.lab.setFault({ operation: '*', stage: 'call', drop: 'before' }),
    );
    expect({ code: run.code, failed: eventsOf(run.events, 'failed') }).toEqual({ code: 0, failed: [] });
    expect(eventsOf(run.events, 'warning')).toMatchObject([
      { code: 'snapshot_remove_failed', message: expect.stringContaining('could not be removed') },
    ]);
    stage.lab.clearFaults();
    const [left] = stage.lab.snapshots(vm.moref);
    await stage.lab.removeSnapshot(vm.moref, left!.moref);
  });

  it('refuses a target of another size before it takes a snapshot', async () => {
    const other = await stage.lab.createVm({ name: 'other', disks: [{ sizeBytes: 8 * MIB }] });
    await using targets = await stage.serve(other);
    const run = await backUpByHand(stage, { vm, targets: targets.text, jobId: 'size' });
    expect(codeOf(run)).toBe('disk_size_mismatch');
    expect(eventsOf(run.events, 'snapshotCreated')).toEqual([]);
  });

  it('refuses a disk that no snapshot holds', async () => {
    const mixed = await stage.lab.createVm({
      name: 'independent',
      disks: [{ sizeBytes: MIB }, { sizeBytes: MIB, mode: 'independent_persistent' }],
    });
    await using targets = await stage.serve(mixed);
    const key = mixed.disks[1]!.key;
    const text = `${targets.text},${key}:nbd://127.0.0.1:1/x`;
    const run = await backUpByHand(stage, { vm: mixed, targets: text, jobId: 'independent' });
    expect(codeOf(run)).toBe('disk_set_changed');
    expect(eventsOf(run.events, 'failed')[0]!.message).toContain('independent');
    const good = await backUpByHand(stage, { vm: mixed, targets: targets.text, jobId: 'independent' });
    expect(good.code).toBe(0);
    expect(good.stderr()).toContain(`disk ${key}`);
  });

  it("leaves somebody else's snapshot alone, and does not enable change tracking above it", async () => {
    const shared = await stage.lab.createVm({ name: 'shared', disks: [{ sizeBytes: 16 * MIB }] });
    await stage.lab.guestWrite(shared.moref, 2000, { offset: 0, random: 'a', length: 4 * MIB });
    await stage.lab.createSnapshot(shared.moref, {
      name: 'before update',
      description: 'by the administrator',
    });
    await stage.lab.guestWrite(shared.moref, 2000, { offset: 2 * MIB, random: 'b', length: 4 * MIB });
    await using targets = await stage.serve(shared);
    const run = await backUpByHand(stage, {
      vm: shared,
      targets: targets.text,
      jobId: 'shared',
      more: ['--enable-change-tracking'],
    });
    expect({ code: run.code, stderr: run.stderr() }).toEqual({ code: 0, stderr: '' });
    expect(eventsOf(run.events, 'changeTracking')).toEqual([{ enabled: false, outcome: 'snapshots_exist' }]);
    const [snapshot] = eventsOf(run.events, 'snapshotCreated');
    expect(snapshot!.foreignSnapshots).toBe(1);
    expect(await stage.compare(shared, targets, snapshot!.moref)).toEqual({ 2000: true });
    expect(stage.lab.snapshots(shared.moref).map(({ name }) => name)).toEqual(['before update']);
    expect(stage.lab.vm(shared.moref).changeTrackingEnabled).toBe(false);
  });
});
