import { renameSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { RestorePointRecord } from '@sendense/catalog';
import { SendenseError } from '@sendense/core';
import { requires } from '@sendense/runtime/testing';
import { flip, VerifiedChain } from './stage/verified-chain.js';

const MIB = 2 ** 20;

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
  'qemu-io',
)('the task of a verification', () => {
  let chain: VerifiedChain;
  let stage: VerifiedChain['stage'];
  let vm: VerifiedChain['vm'];
  let full: RestorePointRecord;
  let middle: RestorePointRecord;
  let last: RestorePointRecord;

  beforeEach(async () => {
    chain = await VerifiedChain.create();
    ({ stage, vm, full, middle, last } = chain);
  });
  afterEach(() => chain[Symbol.asyncDispose]());

  it('fails the task, and puts the point and all that is read through the same file in doubt', async () => {
    await flip(chain.imageOf(middle), 2 * MIB);
    expect(await chain.run(full)).toMatchObject({ outcome: 'passed', quick: false });
    await expect(chain.run(middle)).rejects.toMatchObject({
      code: 'verification_failed',
      message: expect.stringContaining(`disk 2000 at offset ${2 * MIB} in ${middle.disks[0]!.imagePath}`),
      context: { restore_point_id: middle.id, disk_key: '2000', offset: String(2 * MIB), findings: '1' },
    });
    expect(chain.found.at(-1)).toMatchObject({
      ...{ outcome: 'failed', finding_count: 1, suspects: [last.id, middle.id] },
      findings: [{ kind: 'content', restore_point_id: middle.id, disk_key: 2000, offset: 2 * MIB }],
    });
    expect(await chain.suspects()).toEqual([middle.id, last.id].toSorted());
    expect(await chain.stateOf(middle)).toMatchObject({
      ...{ verification: 'failed', verifiedFull: true, suspect: true },
      verificationDetail: expect.stringContaining(`disk 2000 at offset ${2 * MIB}`),
    });
    expect(await chain.stateOf(last)).toMatchObject({ suspectReason: expect.stringContaining(middle.id) });
    expect(await chain.stateOf(full)).toMatchObject({ verification: 'passed', suspect: false });
  });

  it('leaves points alone that are not read through the damaged file', async () => {
    await vm.seal('full');
    const [newest] = await stage.catalog.restorePoints.ofContext(vm.contextId, stage.repository.id);
    rmSync(chain.imageOf(full, 1));
    await expect(chain.run(middle, { quick: true })).rejects.toMatchObject({ code: 'verification_failed' });
    expect(await chain.suspects()).toEqual([full.id, middle.id, last.id].toSorted());
    expect(await chain.stateOf(newest!)).toMatchObject({ suspect: false });
  });

  it('takes the doubt back only when every block was read and is good', async () => {
    renameSync(chain.imageOf(full), `${chain.imageOf(full)}.away`);
    await expect(chain.run(last, { quick: true })).rejects.toMatchObject({ code: 'verification_failed' });
    renameSync(`${chain.imageOf(full)}.away`, chain.imageOf(full));
    expect(await chain.run(last, { quick: true })).toMatchObject({ outcome: 'passed', quick: true });
    expect(await chain.stateOf(last)).toMatchObject({
      verification: 'passed',
      verifiedFull: false,
      suspect: true,
    });
    expect(await chain.run(last)).toMatchObject({ outcome: 'passed', quick: false });
    expect(await chain.stateOf(last)).toMatchObject({
      verification: 'passed',
      verifiedFull: true,
      suspect: false,
    });
    expect(await chain.suspects()).toEqual([full.id, middle.id].toSorted());
  });

  it('says nothing about points when the repository or a tool is not there', async () => {
    renameSync(stage.repository.path, `${stage.repository.path}.away`);
    await expect(chain.run(last)).rejects.toMatchObject({ code: 'repository_missing' });
    renameSync(`${stage.repository.path}.away`, stage.repository.path);
    await expect(
      chain.verify(last, { tools: { ...chain.tools(), qemuImg: 'no-such-qemu-img' } }),
    ).rejects.toMatchObject({
      code: 'qemu_img_failed',
    });
    await expect(
      chain.verify(last, { tools: { ...chain.tools(), qemuNbd: 'no-such-qemu-nbd' } }),
    ).rejects.toMatchObject({
      code: 'qemu_nbd_missing',
    });
    const unmounted = async () => {
      throw new SendenseError('repository_missing', 'it is not mounted');
    };
    rmSync(chain.imageOf(full));
    const repository = { ...stage.repository, availableBytes: unmounted };
    await expect(chain.verify(last, { repository })).rejects.toMatchObject({ code: 'repository_missing' });
    expect(await chain.suspects()).toEqual([]);
  });

  it('ends at once when it is cancelled, with nothing left behind and nothing said', async () => {
    const cancel = new AbortController();
    const reason = new SendenseError('cancelled', 'somebody wants the disk');
    const limited = chain.verify(last, {
      ...{ rateLimitBytesPerSecond: 1, signal: cancel.signal },
      onProgress: () => cancel.abort(reason),
    });
    await expect(limited).rejects.toMatchObject({ code: 'cancelled' });
    await expect(chain.run(last, { signal: cancel.signal })).rejects.toMatchObject({ code: 'cancelled' });
    expect(await chain.stateOf(last)).toMatchObject({ verification: undefined, suspect: false });
  });
});
