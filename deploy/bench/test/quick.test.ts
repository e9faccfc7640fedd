import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { MARIADBD } from '@sendense/catalog/testing';
import { eventually, requires, temporaryDirectory } from '@sendense/runtime/testing';
import type { Report } from '../src/report.js';

const run = promisify(execFile);
const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url));
const PLUGIN = process.env['SENDENSE_NBDKIT_VDDK_PLUGIN'] ?? 'nbdkit';

describe('./dev bench', () => {
  it('refuses what it does not know', async () => {
    const refused = run(process.execPath, [MAIN, '--size', 'much']);
    await expect(refused).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining("--size takes whole numbers from 4 to 65536, not 'much'"),
    });
  });

  it('says how much space is missing, and where', async () => {
    using directory = temporaryDirectory('bench');
    const refused = run(process.execPath, [MAIN, '--size', '65536', '--dir', directory.path]);
    await expect(refused).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/needs \d+ MiB in \S+, and there are \d+: give a smaller --size/),
    });
    expect(readdirSync(directory.path)).toEqual([]);
  });
});

requires(
  describe,
  'nbdkit',
  'nbdcopy',
  'qemu-nbd',
  'qemu-img',
  'ssh',
  '/usr/sbin/sshd',
  PLUGIN,
)('./dev bench --quick', () => {
  it('measures every path, ends with one line of JSON, and leaves nothing behind', async () => {
    using directory = temporaryDirectory('bench');
    const options = [
      '--quick',
      '--only',
      'dense,huge,incremental,failures',
      '--rtt',
      '5',
      '--dir',
      directory.path,
    ];
    const { stdout } = await run(process.execPath, [MAIN, ...options]);
    const report = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Report & { quick: boolean };

    expect(report).toMatchObject({
      quick: true,
      size_mib: 16,
      repeat: 1,
      machine: { cores: expect.any(Number) },
    });
    expect(Object.keys(report.workloads)).toEqual(['dense', 'huge']);
    for (const { paths, full_to_direct, full_to_ssh } of Object.values(report.workloads)) {
      expect(full_to_direct).toBeGreaterThan(0);
      expect(full_to_ssh).toBeGreaterThan(0);
      expect(paths.full.end_to_end_seconds).toBeGreaterThan(0);
      expect(names(paths.full)).toEqual(
        expect.arrayContaining(['backup client', 'hub', 'nbdkit', 'node', 'qemu-nbd', 'tunnel worker']),
      );
      // nbdcopy itself may have ended with its 16 MiB between two looks at the processes.
      expect(names(paths.direct)).toEqual(expect.arrayContaining(['nbdkit', 'qemu-nbd']));
      expect(names(paths.ssh)).toEqual(expect.arrayContaining(['ssh', 'sshd']));
    }
    expect(report.lines.map(({ rtt_ms: ms }) => ms)).toEqual([0, 5]);
    expect(report.huge_to_dense).toBeGreaterThan(0);
    expect(report.backup_client_peak_mib).toBeGreaterThan(0);
    const { changed, unchanged, planning, restore } = report.incremental!;
    expect(changed.wire_sent_bytes).toBeGreaterThan(changed.changed_bytes);
    expect(changed.disk_bytes).toBeGreaterThan(changed.changed_bytes);
    expect(unchanged.wire_bytes).toBeLessThan(changed.changed_bytes);
    expect(unchanged.disk_bytes).toBeGreaterThan(0);
    expect(planning).toMatchObject({ extents: 2500, first_seconds: expect.any(Number) });
    expect(restore).toMatchObject({ increments: 4, chain_to_full: expect.any(Number) });
    expect(report.failures).toMatchObject([
      { title: 'qemu-nbd is killed in the middle', code: 'qemu_nbd_died', expected: true },
      { title: 'VM is unknown', code: 'vm_not_protected', expected: true },
    ]);
    expect(report.targets).toHaveLength(11);
    expect(readdirSync(directory.path)).toEqual([]);
  }, 300_000);
});

describe('./dev bench --quick --only catalogue', () => {
  it('asks a filled catalogue for everything, on every database that is here', async () => {
    using directory = temporaryDirectory('bench');
    chmodSync(directory.path, 0o755);
    const options = ['--quick', '--json', '--only', 'catalogue', '--dir', directory.path];
    const { stdout } = await run(process.execPath, [MAIN, ...options]);
    const { catalogue, targets } = JSON.parse(stdout) as Report;
    const databases = catalogue!.databases.map(({ database }) => database.split(' ')[0]);
    expect(databases).toEqual(existsSync(MARIADBD) ? ['SQLite', 'MariaDB'] : ['SQLite']);
    for (const { requests, work, start_seconds, memory_mib } of catalogue!.databases) {
      expect(requests['restore points: a page deep inside']).toMatchObject({ p99: expect.any(Number) });
      expect(work['plan: its chain']!.p50).toBeGreaterThan(0);
      expect(start_seconds).toBeGreaterThan(0);
      expect(memory_mib.peak).toBeGreaterThanOrEqual(memory_mib.started);
    }
    expect(targets).toHaveLength(databases.length);
    expect(readdirSync(directory.path)).toEqual([]);
  }, 300_000);
});

describe('./dev bench that is ended in the middle', () => {
  it.each([
    ['SIGINT', 'dense', 'starting lab, hub and node', 130],
    ['SIGTERM', 'dense', 'warmed up', 143],
    ['SIGTERM', 'catalogue', 'writing', 143],
    ['SIGTERM', 'failures', 'what is to be broken is there', 143],
  ] as const)(
    'leaves no file, mount or process: %s in %s, after %s',
    async (signal, part, step, exitCode) => {
      using directory = temporaryDirectory('bench');
      chmodSync(directory.path, 0o755);
      // Larger than --quick, so that it does not end before.
      const options = ['--only', part, '--size', '64', '--dir', directory.path];
      const bench = spawn(process.execPath, [MAIN, ...options], { stdio: ['ignore', 'ignore', 'pipe'] });
      let said = '';
      bench.stderr.on('data', (text: Buffer) => (said += text.toString()));
      await eventually(`it has said '${step}'`, () => said.includes(step), 120_000);
      bench.kill(signal);
      expect(await once(bench, 'close')).toEqual([exitCode, null]);
      expect(said).toMatch(new RegExp(`bench: ended by ${signal}, cleaning up\n$`));
      expect(readdirSync(directory.path)).toEqual([]);
      expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(directory.path);
      await eventually('its processes are gone', () => processesNaming(directory.path).length === 0);
    },
    300_000,
  );
});

/** The processes that there are whose command or environment names a path. */
function processesNaming(path: string): string[] {
  const says = (pid: string, file: string) => {
    try {
      return readFileSync(`/proc/${pid}/${file}`, 'utf8').includes(path);
    } catch {
      return false; // It has ended.
    }
  };
  return readdirSync('/proc').filter(
    (pid) => /^\d+$/.test(pid) && (says(pid, 'cmdline') || says(pid, 'environ')),
  );
}

function names({ processes }: { readonly processes: readonly { readonly name: string }[] }): string[] {
  return processes.map(({ name }) => name);
}
