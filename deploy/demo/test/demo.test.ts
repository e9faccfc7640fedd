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
  'debugfs',
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
      change_tracking: 'enabled',
      incremental: {
        state: 'completed',
        disks: [
          { disk_key: 2000, backup_type: 'incremental', identical: true, file_system_clean: true },
          { disk_key: 2001, backup_type: 'incremental', identical: true, file_system_clean: true },
        ],
        snapshots_created: 1,
      },
      verify: { outcome: 'passed' },
      retention_preview: { restore_points: 2 },
    });
    const { incremental, retention_preview: preview } = facts as {
      incremental: { backup_id: string; disks: { stored_bytes: number }[] };
      retention_preview: { keep: string[]; remove: string[] };
    };
    // The guest wrote 16 MiB while the full ran, and 5 MiB after it.
    for (const { stored_bytes } of incremental.disks) expect(stored_bytes).toBeLessThan(32 << 20);
    expect(preview).toMatchObject({ keep: [incremental.backup_id], remove: [facts['backup_id']] });
    expect(run.exitCode).toBe(0);
  }, 300_000);
});
