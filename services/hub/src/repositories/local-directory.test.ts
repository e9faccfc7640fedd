import { chmodSync, mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { runCommand } from '@sendense/runtime';
import { requiresRoot, temporaryDirectory } from '@sendense/runtime/testing';
import { LocalDirectory } from './local-directory.js';
import { MARKER_FILE } from './marker.js';
import { shellQuote } from './users.js';

const local = new LocalDirectory();
const place = (path: string) => ({ id: 'repo-local-1', name: 'main', type: 'local', path });

describe('a local directory', () => {
  it('is available with its space once it is claimed', async () => {
    using folder = temporaryDirectory('repository');
    await local.claim(place(folder.path), 'SHA256:hub');
    const status = await local.check(place(folder.path));
    expect(status).toMatchObject({ available: true });
    const space = status.space!;
    expect(space.totalBytes).toBeGreaterThan(0);
    expect(space.usedBytes + space.availableBytes).toBeLessThanOrEqual(space.totalBytes);
    await local.claim(place(folder.path), 'SHA256:hub'); // again is no error
  });

  it('is missing while its file system is not mounted, and recovers', async () => {
    using folder = temporaryDirectory('repository');
    await local.claim(place(folder.path), 'SHA256:hub');
    const marker = join(folder.path, MARKER_FILE);
    rmSync(marker); // what an empty mount point looks like
    expect(await local.check(place(folder.path))).toMatchObject({
      available: false,
      problem: { code: 'repository_missing', message: expect.stringContaining('not mounted') },
    });
    await local.claim({ ...place(folder.path), id: 'repo-local-2' }, 'SHA256:hub');
    expect(await local.check(place(folder.path))).toMatchObject({
      problem: {
        code: 'repository_missing',
        message: expect.stringContaining('it holds repository repo-local-2'),
      },
    });
    rmSync(marker);
    await local.claim(place(folder.path), 'SHA256:hub');
    expect(await local.check(place(folder.path))).toMatchObject({ available: true });
  });

  it('is missing when the directory is gone or is a file, with the command that makes it', async () => {
    using folder = temporaryDirectory('repository');
    const gone = join(folder.path, 'a b');
    expect(await local.check(place(gone))).toMatchObject({
      problem: {
        code: 'repository_missing',
        message: expect.stringContaining(`install -d -m 750 -o ${process.geteuid!() === 0 ? 'root' : ''}`),
        context: { path: gone, fix: expect.stringContaining(`'${gone}'`) },
      },
    });
    const file = join(folder.path, 'file');
    writeFileSync(file, '');
    for (const path of [file, join(file, 'below')])
      await expect(local.resolve(path)).rejects.toMatchObject({
        code: 'repository_missing',
        message: expect.stringContaining('not a directory'),
      });
  });

  it('belongs to one repository of one hub', async () => {
    using folder = temporaryDirectory('repository');
    await local.claim(place(folder.path), 'SHA256:hub');
    for (const [id, hub] of [
      ['repo-local-2', 'SHA256:hub'],
      ['repo-local-1', 'SHA256:other'],
    ] as const)
      await expect(local.claim({ ...place(folder.path), id }, hub)).rejects.toMatchObject({
        code: 'repository_in_use',
        message: expect.stringContaining('repo-local-1'),
      });
    await local.release({ ...place(folder.path), id: 'repo-local-2' });
    await expect(local.claim({ ...place(folder.path), id: 'repo-local-2' }, 'SHA256:hub')).rejects.toThrow();
    await local.release(place(folder.path));
    await local.claim({ ...place(folder.path), id: 'repo-local-2' }, 'SHA256:hub');
    writeFileSync(join(folder.path, MARKER_FILE), '{"repository_id":5}');
    expect(await local.check(place(folder.path))).toMatchObject({ problem: { code: 'manifest_invalid' } });
  });

  it('that takes no files is refused in words, whatever the kernel says', async () => {
    // As root /proc may be written to, and says "no such file" to every new one; others are refused before.
    const claim = async () => {
      await local.resolve('/proc');
      await local.claim(place('/proc'), 'SHA256:hub');
    };
    await expect(claim()).rejects.toMatchObject({
      code: 'repository_not_writable',
      message: expect.stringMatching(/\/proc.*(Name a directory on a disk|Fix it with)/),
      context: { path: '/proc' },
    });
  });

  it('that is gone by the time it is claimed is missing, with the command that makes it', async () => {
    using folder = temporaryDirectory('repository');
    const gone = join(folder.path, 'gone');
    await expect(local.claim(place(gone), 'SHA256:hub')).rejects.toMatchObject({
      code: 'repository_missing',
      message: expect.stringContaining('does not exist'),
    });
  });

  it('is known by its real path', async () => {
    using folder = temporaryDirectory('repository');
    mkdirSync(join(folder.path, 'real'));
    symlinkSync('real', join(folder.path, 'link'));
    expect(await local.resolve(join(folder.path, 'link'))).toBe(realpathSync(join(folder.path, 'real')));
    await expect(local.resolve('relative')).rejects.toMatchObject({ code: 'invalid_argument' });
    await expect(local.resolve(`/${'x'.repeat(1000)}`)).rejects.toMatchObject({ code: 'invalid_argument' });
  });
});

const OTHER_UID = 65_534;

/** What a process of another user sees there. */
async function checkAsOther(
  path: string,
): Promise<{ code: string; message: string; context: { fix: string } }> {
  const module = new URL('./local-directory.js', import.meta.url).href;
  // It becomes that user only once the code is loaded: the checkout may be where no other user can look.
  const script = `import { LocalDirectory } from ${JSON.stringify(module)};
    process.setgroups([]);
    process.setgid(${OTHER_UID});
    process.setuid(${OTHER_UID});
    const { problem } = await new LocalDirectory().check({ id: 'repo-local-1', path: process.argv[1] });
    console.log(JSON.stringify({ code: problem?.code, message: problem?.message, context: problem?.context }));`;
  const { stdout } = await runCommand(process.execPath, ['--input-type=module', '-e', script, '--', path], {
    code: 'process_failed',
    what: 'the check as another user',
    env: { NODE_OPTIONS: '' },
  });
  return JSON.parse(stdout) as Awaited<ReturnType<typeof checkAsOther>>;
}

requiresRoot(describe, 'to become another user')('a directory that the user may not write to', () => {
  it('is reported with path, owner, mode, user and the command that fixes it; the command fixes it', async () => {
    using folder = temporaryDirectory('repository');
    chmodSync(folder.path, 0o755);
    const path = join(folder.path, "it's here");
    mkdirSync(path, { mode: 0o755 });
    await local.claim(place(path), 'SHA256:hub');
    const problem = await checkAsOther(path);
    expect(problem.code).toBe('repository_not_writable');
    expect(problem.message).toContain(path);
    expect(problem.message).toMatch(/user nobody \(uid 65534\).*owner is root \(uid 0\), its mode 0755/);
    expect(problem.message).toContain(`Fix it with: chown nobody ${shellQuote(path)}`);
    await runCommand('bash', ['-c', problem.context.fix], { code: 'process_failed', what: 'the fix' });
    expect((await checkAsOther(path)).code).toBeUndefined();
  });

  it('names the directory above it that cannot be passed', async () => {
    using folder = temporaryDirectory('repository'); // mkdtemp makes it 0700
    const path = join(folder.path, 'below');
    mkdirSync(path, { mode: 0o777 });
    const problem = await checkAsOther(path);
    expect(problem.code).toBe('repository_not_writable');
    expect(problem.message).toContain(`${folder.path} above it (owner root (uid 0), mode 0700)`);
    expect(problem.context.fix).toBe(`setfacl -m u:nobody:x ${folder.path}`);
  });
});
