import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { requires, temporaryDirectory } from '@sendense/runtime/testing';

const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url));

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
  'nbdkit',
  'mkfs.ext4',
  'sfdisk',
)('the demo', () => {
  it('backs up a VM and proves it, and its last line is JSON with the facts', async () => {
    using folder = temporaryDirectory('sdd');
    const run = await execa(process.execPath, [MAIN, '--dir', `${folder.path}/demo`], { reject: false });
    const facts = JSON.parse(run.stdout.split('\n').at(-1) ?? '') as Record<string, unknown>;
    expect(facts).toMatchObject({
      ok: true,
      state: 'completed',
      disks: [
        { disk_key: 2000, identical: true, file_system_clean: true },
        { disk_key: 2001, identical: true, file_system_clean: true },
      ],
      snapshots_created: 1,
      snapshots_left: 0,
      processes_left: 0,
      leases_left: 0,
    });
    expect(run.exitCode).toBe(0);
  }, 300_000);
});
