import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { runCommand } from '@sendense/runtime';
import { requires } from '@sendense/runtime/testing';
import { ChainStage } from './stage/chain-stage.js';

const MIB = 2 ** 20;
const page = readFileSync(new URL('../../../../docs/restore-by-hand.md', import.meta.url), 'utf8');
/** What stands in blocks marked `sh`; the others set what is different everywhere. */
const commands = [...page.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => String(block));

requires(
  describe,
  'qemu-img',
  'qemu-io',
)('docs/restore-by-hand.md', () => {
  it('restores every point of a chain, byte by byte, by its commands alone, wherever the repository lies', async () => {
    await using stage = await ChainStage.create();
    const vm = stage.vm('pgtest1', [2 * MIB, MIB + 512]);
    vm.disks[0]!.fill(0, MIB);
    vm.disks[1]!.fill(0, MIB + 512);
    const points = [await vm.seal('full')];
    vm.disks[0]!.fill(MIB, 64 * 1024, 'new');
    vm.disks[0]!.zero(0, 128 * 1024);
    vm.disks[1]!.fill(MIB, 512, 'the end');
    points.push(await vm.seal('incremental'));
    vm.disks[0]!.fill(128 * 1024, 512, 'a sector');
    points.push(await vm.seal('incremental'));
    const moved = join(stage.folder, 'moved away');
    renameSync(stage.repository.path, moved);

    expect(commands.length).toBeGreaterThanOrEqual(5);
    for (const point of points)
      for (const [number, disk] of point.disks.entries()) {
        const target = join(stage.folder, `restored of ${point.id} ${number}`);
        const { stdout } = await runCommand('bash', ['-euo', 'pipefail', '-c', commands.join('\n')], {
          ...{ code: 'process_failed', what: 'the commands of the page' },
          env: { REPOSITORY: moved, MANIFEST: point.manifestPath, IMAGE: disk.imagePath, TARGET: target },
        });
        const source = vm.disks[number]!.history.get(point.id)!;
        expect(readFileSync(target).equals(source)).toBe(true);
        for (const shown of [point.id, String(disk.diskKey), disk.imagePath]) expect(stdout).toContain(shown);
        expect(stdout).toContain('Images are identical');
      }
  });

  it('fails when an image of the chain is missing', async () => {
    await using stage = await ChainStage.create();
    const vm = stage.vm('pgtest1', [MIB]);
    const full = await vm.seal('full');
    const last = await vm.seal('incremental');
    renameSync(stage.at(full.disks[0]!.imagePath), join(stage.folder, 'away'));
    const run = runCommand('bash', ['-euo', 'pipefail', '-c', commands.slice(0, 4).join('\n')], {
      ...{ code: 'process_failed', what: 'the commands of the page' },
      env: {
        ...{ REPOSITORY: stage.repository.path, MANIFEST: last.manifestPath },
        ...{ IMAGE: last.disks[0]!.imagePath, TARGET: join(stage.folder, 'x') },
      },
    });
    await expect(run).rejects.toMatchObject({ code: 'process_failed' });
  });
});
