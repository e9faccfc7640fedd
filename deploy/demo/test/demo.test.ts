import { readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { eventually, requires, temporaryDirectory } from '@sendense/runtime/testing';

const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url));
const ROOT = fileURLToPath(new URL('../../../..', import.meta.url));
const TOOLS = process.env['SENDENSE_TOOLS_DIR'] ?? join(ROOT, '.tools');

/** What each printed command answers; the first that fits a command is its. */
const ANSWERS: readonly (readonly [command: RegExp, answer: RegExp])[] = [
  [/^qemu-img info --backing-chain /, /^backing file: .*[^]*\nimage: /m],
  [/^ls /, /^sendense-hub\.log$/m],
  [/^bin\/sendense status$/, /^status: +ok$/m],
  [/^bin\/sendense backup list$/, /\tincremental\tcompleted\t[^]*\tfull\tcompleted\t/],
  [/^bin\/sendense backup plan /, /^Nothing was started\./],
  [/^bin\/sendense backup start .* --follow$/, /^backup-pgtest1-\S+ completed\.$/m],
  [/^bin\/sendense restore-point list$/, /^(backup-pgtest1-.*\n?){3}$/m],
  [/^bin\/sendense retention set .* && .* retention apply /, /^prune of .*: completed/m],
  [/^curl .*\/health$/, /^\{"status":"ok"/],
  [/^curl .*\/repositories$/, /^\{"repositories":\[\{"repository_id":/],
  [/^curl [^]* -d '[^]*\/backups$/, /^\{"backup_id":"backup-pgtest1-/],
  [/grpcurl' -plaintext '.*' list$/, /^sendense\.node\.v1\.NodeService$/m],
  [/grpcurl' -plaintext '.*' describe /, /rpc RunBackup/],
  [/grpcurl' -plaintext '.*' sendense.*\/GetNode$/, /"name": "demo-node"/],
  [/^printf [^]*\/ListVirtualMachines$/, /"name": "pgtest1"/],
  [/^bin\/sendense-lab guest write /, /^$/],
  [/^bin\/sendense-lab snapshot list /, /^MOREF/],
];

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
  'nbdkit',
  'mkfs.ext4',
  'debugfs',
  'sfdisk',
  'curl',
  join(TOOLS, 'go/bin/grpcurl'),
)('the demo', () => {
  const folder = temporaryDirectory('sd d');
  // Moved, as SENDENSE_TOOLS_DIR can move it.
  const env = { SENDENSE_TOOLS_DIR: join(folder.path, 'tools') };
  const demo = (...args: string[]) =>
    execa(process.execPath, [MAIN, '--dir', `${folder.path}/demo`, ...args], { env, reject: false });
  let run: Awaited<ReturnType<typeof demo>>;
  beforeAll(async () => {
    symlinkSync(TOOLS, env.SENDENSE_TOOLS_DIR);
    run = await demo('--keep');
  }, 300_000);
  afterAll(async () => {
    await demo('--stop');
    folder[Symbol.dispose]();
  });

  it('backs up a VM and proves it, and its last line is JSON with the facts', () => {
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
  });

  it('prints commands that answer when they are pasted into a shell', async () => {
    const commands = printedCommands(run.stdout);
    const exports = commands.filter((command) => command.startsWith('export '));
    expect(exports).toHaveLength(2);
    const problems: string[] = [];
    for (const command of commands.filter((one) => !exports.includes(one))) {
      const script = ['set -euo pipefail', ...exports, command].join('\n');
      const options = { cwd: ROOT, env: { ...env, HOME: folder.path }, reject: false };
      const { stdout, stderr, exitCode } = await execa('bash', ['-c', script], options);
      const [, answer] = ANSWERS.find(([which]) => which.test(command)) ?? [];
      if (exitCode !== 0 || !answer?.test(stdout))
        problems.push(`${command}\nended with ${exitCode}, not with ${String(answer)}: ${stdout}${stderr}`);
    }
    expect(problems).toEqual([]);
    expect(commands.length - exports.length).toBe(ANSWERS.length);
    // The backup that was begun with curl.
    const list = commands.find((command) => command.endsWith('backup list'))!;
    await eventually('no backup runs any more', async () => {
      const { stdout } = await execa('bash', ['-c', [...exports, list].join('\n')], { cwd: ROOT, env });
      return stdout.match(/\tcompleted\t/g)?.length === 4;
    });
  }, 300_000);

  it('leaves nothing running once it is stopped', async () => {
    expect(processesWith(folder.path)).not.toEqual([]);
    const { stdout, exitCode } = await demo('--stop');
    expect({ stdout, exitCode }).toEqual({
      stdout: 'stopped: sendense-node, sendense-hub, sendense-lab',
      exitCode: 0,
    });
    expect(processesWith(folder.path)).toEqual([]);
    expect((await demo('--stop')).stdout).toBe('stopped: nothing was running');
  });
});

/** The indented lines, each with those that continue it. */
function printedCommands(output: string): string[] {
  const { 1: steps = '' } = output.split('Next, by hand:');
  return [...steps.matchAll(/^ {2}(\S(?:.*\\\n)*.*)$/gm)].map(([, command = '']) => command);
}

/** The command lines of processes that have to do with a folder. */
function processesWith(folder: string): string[] {
  const read = (pid: string, file: string) => {
    try {
      return readFileSync(`/proc/${pid}/${file}`, 'latin1');
    } catch {
      return ''; // It has ended.
    }
  };
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => `${read(pid, 'cmdline')} ${read(pid, 'environ')}`.includes(folder))
    .map((pid) => read(pid, 'cmdline').replaceAll('\0', ' '));
}
