import { describe, expect, it } from '@jest/globals';
import { runCommand } from '@sendense/runtime';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';
import { startLab } from '../src/index.js';
import { compareImages, copyOut, serveDisk, VDDK_LIBRARY, VDDK_PLUGIN } from './nbdkit.js';

const describeWith = requires(
  describe,
  'nbdkit',
  'nbdcopy',
  'nbdinfo',
  'qemu-img',
  VDDK_PLUGIN,
  VDDK_LIBRARY,
);
const MiB = 1 << 20;

describeWith('the stand-in libvixDiskLib under the real nbdkit and its vddk plugin', () => {
  it('serves a frozen disk byte for byte while the guest goes on writing', async () => {
    using folder = temporaryDirectory();
    await using lab = await startLab({ directory: `${folder.path}/lab` });
    const vm = await lab.createVm({
      name: 'pgtest1',
      disks: [{ sizeBytes: 64 * MiB + 512 }, { sizeBytes: 5 * MiB }],
    });
    await lab.guestWrite(vm.moref, 2000, [
      { offset: 12_345, random: 'first', length: 20 * MiB },
      { offset: 64 * MiB, random: 'the last sector', length: 512 },
      { offset: 30 * MiB, zeros: 3 * MiB },
    ]);
    const snapshot = await lab.createSnapshot('pgtest1', { name: 'backup' });
    const frozen = await lab.diskImage('pgtest1', 2000, { snapshot: snapshot.moref });
    await using nbdkit = await serveDisk(lab, folder.path, {
      vm: vm.moref,
      snapshot: snapshot.moref,
      fileName: '[labds] pgtest1/pgtest1.vmdk',
    });
    const copy = `${folder.path}/copy.raw`;
    const writing = (async () => {
      for (let round = 0; round < 40; round++) {
        await lab.guestWrite(vm.moref, 2000, {
          offset: round * MiB + 77,
          random: `later ${round}`,
          length: MiB,
        });
      }
    })();
    await Promise.all([copyOut(nbdkit.uri, copy, '--requests=64'), writing]);
    await compareImages(copy, frozen);
    const now = await lab.diskImage('pgtest1', 2000);
    await expect(compareImages(now, frozen)).rejects.toThrow();
    const map = await runCommand('nbdinfo', ['--map', nbdkit.uri], {
      code: 'process_failed',
      what: 'nbdinfo',
    });
    console.log(map.stdout);
  });
});
