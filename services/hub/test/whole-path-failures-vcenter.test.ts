import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { LabVm } from '@sendense/lab';
import { eventually, requires } from '@sendense/runtime/testing';
import { Constellation, CONSTELLATION_TOOLS, NOTHING_LEFT, type BackupBody } from './constellation.js';

const MIB = 2 ** 20;

requires(describe, ...CONSTELLATION_TOOLS)('the whole path, when vCenter fails', () => {
  let all: Constellation;
  let vm: LabVm;

  beforeAll(async () => {
    all = await Constellation.start({ timing: { nodeCancelMs: 60_000 } });
    vm = await all.addVm({ name: 'pgtest1', disks: [{ sizeBytes: 17 * MIB }] }, 16 * MIB);
  });

  afterAll(async () => {
    await all[Symbol.asyncDispose]();
  });

  afterEach(async () => {
    all.lab.clearFaults();
    await all.lab.startVCenter();
    await eventually('nothing is left', () => {
      expect(all.leftovers()).toEqual(NOTHING_LEFT);
      return true;
    });
    const { created, removed } = all.snapshotsSince(vm);
    expect(removed).toBe(created);
  });

  /** Something happens while bytes flow. What is not read by then is not read before it has happened. */
  async function inTheMiddle(happens: () => unknown): Promise<string> {
    const hold = all.lab.setFault({ operation: 'vddk.read', after: 1, delayMs: 600_000 });
    const { backup_id: id } = await all.flowing('pgtest1');
    await happens();
    expect(await all.backup(id)).toMatchObject({ state: 'running', disk_results: [{ status: 'copying' }] });
    all.lab.clearFaults(hold);
    return id;
  }

  /** A snapshot that was left there, and why: it is removed once vCenter lets it. */
  async function isSweptAfter(backup: BackupBody, why: RegExp, repair: () => unknown): Promise<void> {
    const { warnings, snapshot, backup_id: id } = backup;
    expect(warnings).toMatchObject([
      {
        code: 'snapshot_remove_failed',
        message: expect.stringMatching(
          new RegExp(
            `^the snapshot sendense-${id} \\(${snapshot!.moref}\\) of pgtest1 .*grows.*${why.source}.*` +
              'Remove it in vCenter if it stays. The hub tries again until it is gone$',
          ),
        ),
      },
    ]);
    expect(snapshot).toMatchObject({ removed_at: null });
    expect(all.lab.snapshots(vm.moref)).toHaveLength(1);
    await repair();
    await eventually('the backup shows that its snapshot is gone', async () => {
      const { snapshot: now } = await all.backup(id);
      return now?.removed_at;
    });
    expect(all.lab.snapshots(vm.moref)).toEqual([]);
  }

  async function isComplete(backup: BackupBody): Promise<void> {
    expect(backup).toMatchObject({ state: 'completed', error: null });
    expect(await all.compare(vm, backup)).toEqual({ 2000: true });
  }

  it('goes on when vCenter is gone in the middle, and removes the snapshot when it is back', async () => {
    const ended = await all.end(await inTheMiddle(() => all.lab.stopVCenter()));
    await isComplete(ended);
    await isSweptAfter(ended, /connection refused.*that vCenter is running/, () => all.lab.startVCenter());
  });

  it('fails when vCenter is gone before it told what to read', async () => {
    all.lab.setFault({ operation: 'QueryChangedDiskAreas', drop: 'before' });
    expect(await all.backUp('pgtest1')).toMatchObject({
      state: 'failed',
      error: {
        code: 'vcenter_unreachable',
        message: expect.stringMatching(/cannot be reached: .*Check address, port and firewall/),
      },
      warnings: [],
    });
  });

  it('has nothing to tell when vCenter is back before the end', async () => {
    const id = await inTheMiddle(async () => {
      await all.lab.stopVCenter();
      await all.lab.startVCenter();
    });
    const ended = await all.end(id);
    await isComplete(ended);
    expect(ended).toMatchObject({ warnings: [], snapshot: { removed_at: expect.any(String) } });
  });

  it('fails when the disks go with vCenter, with the disk and what to check', async () => {
    const ended = await all.end(
      await inTheMiddle(async () => {
        await all.lab.stopVCenter();
        all.lab.setFault({ operation: 'vddk.read', fault: '14009' });
      }),
    );
    expect(ended).toMatchObject({
      state: 'failed',
      error: {
        code: 'nbd_read_failed',
        message: expect.stringMatching(
          /^disk 2000 \(\[labds\] .*\.vmdk\) cannot be read: .*server refused connection; check that the node reaches vCenter/,
        ),
      },
    });
    await isSweptAfter(ended, /connection refused/, () => all.lab.startVCenter());
  });

  it.each([
    ['is done later', () => all.lab.clearFaults()],
    [
      'is done by hand',
      async () => {
        for (const { moref } of all.lab.snapshots(vm.moref)) await all.lab.removeSnapshot(vm.moref, moref);
      },
    ],
  ])('is good when only its snapshot cannot be removed: it %s', async (_, repair) => {
    all.lab.setFault({
      ...{ operation: 'RemoveSnapshot_Task', fault: 'GenericVmConfigFault', message: 'the disk is locked' },
    });
    const ended = await all.backUp('pgtest1');
    await isComplete(ended);
    await isSweptAfter(ended, /GenericVmConfigFault: the disk is locked/, repair);
  });

  it('goes on when its session expires in the middle', async () => {
    const ended = await all.end(await inTheMiddle(() => all.lab.expireSessions()));
    await isComplete(ended);
    expect(ended.warnings).toEqual([]);
  });

  /** Nothing of it has begun, and the record says why. */
  async function isRefused(code: string, message: RegExp): Promise<void> {
    const { body } = await all.start('pgtest1');
    expect(body).toMatchObject({ code, detail: expect.stringMatching(message) });
    const { backup_id: id } = body['context'] as Record<string, string>;
    const error = { code, message: body['detail'] };
    expect(await all.backup(id!)).toMatchObject({ state: 'failed', error, snapshot: null });
  }

  it('is refused when vCenter is away', async () => {
    await all.lab.stopVCenter();
    await isRefused('vcenter_unreachable', new RegExp(`:${all.lab.port} cannot be reached.*Check address`));
  });

  it('is refused when the password was changed at vCenter, with how to store the new one', async () => {
    all.lab.setFault({
      operation: 'Login',
      fault: 'InvalidLogin',
      message: 'incorrect user name or password',
    });
    await isRefused(
      'vcenter_login_failed',
      /^administrator@vsphere\.local cannot log in to .*incorrect user name.*sendense vcenter update vcenter-lab$/,
    );
  });

  it('is refused when the certificate is another than the pinned one, until that is confirmed', async () => {
    const { catalog } = all.hub.hub.context;
    const right = all.lab.thumbprints.sha256;
    const other = Array.from({ length: 32 }, () => 'AB').join(':');
    const pin = (thumbprint: string) =>
      all.hub.call('PATCH', `/api/v1/vcenters/${all.vcenterId}`, { body: { thumbprint } });
    expect((await pin(other)).body).toMatchObject({ code: 'vcenter_thumbprint_mismatch' });
    expect((await catalog.vcenters.get(all.vcenterId)).thumbprint).toBe(right);
    // As after a renewal: what is pinned was right once.
    await catalog.vcenters.update(all.vcenterId, { thumbprint: other });
    await isRefused(
      'vcenter_thumbprint_mismatch',
      new RegExp(`expected ${other}, got ${right}.*sendense vcenter update vcenter-lab --thumbprint`),
    );
    expect((await pin(right)).status).toBe(200);
    await isComplete(await all.backUp('pgtest1'));
  });

  it('ends as cancelled when it is cancelled while its snapshot is being removed', async () => {
    const operation = 'RemoveSnapshot_Task';
    const calls = () => all.lab.journal().operations[operation] ?? 0;
    const before = calls();
    all.lab.setFault({ operation, delayMs: 600_000 });
    const id = String((await all.start('pgtest1')).body['backup_id']);
    await eventually('vCenter was asked', () => calls() > before);
    const { body } = await all.hub.post(`/api/v1/backups/${id}/cancel`, {});
    expect(body).toMatchObject({ state: 'cancelling' });
    all.lab.clearFaults();
    expect(await all.end(id)).toMatchObject({
      ...{ state: 'cancelled', error: null, warnings: [], restore_point_id: null },
      snapshot: { removed_at: expect.any(String) },
    });
  });

  it('is completed although somebody cancels it while it is being published', async () => {
    const { backups } = all.hub.hub.context.catalog;
    const publishing = Promise.withResolvers<void>();
    const cancelled = Promise.withResolvers<void>();
    const seal = backups.seal.bind(backups);
    jest.spyOn(backups, 'seal').mockImplementationOnce(async (...sealing) => {
      publishing.resolve();
      await cancelled.promise;
      return seal(...sealing);
    });
    const id = String((await all.start('pgtest1')).body['backup_id']);
    await publishing.promise;
    const { body } = await all.hub.post(`/api/v1/backups/${id}/cancel`, {});
    expect(body).toMatchObject({ state: 'sealing', cancel_reason: null });
    cancelled.resolve();
    const ended = await all.end(id);
    await isComplete(ended);
    expect(ended).toMatchObject({ restore_point_id: expect.any(String), cancel_reason: null });
  });
});
