import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { requires } from '@sendense/runtime/testing';
import { Constellation, CONSTELLATION_TOOLS } from './constellation.js';

const MIB = 2 ** 20;
const run = promisify(execFile);

/** The call that the README shows, as it stands there. */
function readmeCall(): string {
  const readme = readFileSync(new URL('../../../../README.md', import.meta.url), 'utf8');
  const call = /curl -s -H "Authorization: Bearer \$TOKEN"[\s\S]*?\/api\/v1\/backups\n/.exec(readme);
  if (!call) throw new Error('the README shows no curl call that starts a backup');
  return call[0];
}

requires(
  describe,
  ...CONSTELLATION_TOOLS,
  'curl',
)('curl', () => {
  let all: Constellation;

  beforeAll(async () => {
    // However busy the machine is, the answer comes when the targets are up.
    all = await Constellation.start({ timing: { answerMs: 60_000 } });
    await all.addVm({ name: 'pgtest1', disks: [{ sizeBytes: 2 * MIB }, { sizeBytes: MIB }] }, MIB);
  });

  afterAll(async () => {
    await all[Symbol.asyncDispose]();
  });

  /** A command line of the documents, with this hub's address and token. */
  async function shell(commandLine: string): Promise<unknown> {
    const { stdout } = await run(
      'bash',
      ['-c', commandLine.replaceAll('http://127.0.0.1:8082', all.hub.url)],
      {
        env: { ...process.env, TOKEN: all.hub.tokens.admin },
      },
    );
    return JSON.parse(stdout);
  }
  const get = (path: string) =>
    shell(`curl -s -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8082${path}`);

  it('asks how the hub is, and for its repositories', async () => {
    expect(await get('/health')).toMatchObject({ status: 'ok', version: expect.any(String) });
    expect(await get('/api/v1/repositories')).toMatchObject({
      repositories: [
        {
          repository_id: all.repository.id,
          status: 'available',
          total_bytes: expect.any(Number),
          used_bytes: expect.any(Number),
          available_bytes: expect.any(Number),
        },
      ],
    });
  });

  it('starts the backup of the README, and is answered with a live target for each disk', async () => {
    const answer = await shell(readmeCall().replace(/repo-local-\d+/, all.repository.id));
    const [first, second] = all.lab.vm('pgtest1').disks.map(({ key }) => key);
    const { first: port } = all.hub.config.nbdPorts;
    const disk = (number: number, key: number | undefined) => ({
      disk_id: expect.any(String),
      disk_key: key,
      nbd_port: port + number,
      nbd_export_name: `pgtest1-disk${number}`,
      qcow2_path: expect.stringMatching(
        new RegExp(
          `^${all.repository.path}/ctx-pgtest1-[^/]+/disk-${number}/backup-pgtest1-disk${number}-\\d{8}-\\d{6}`,
        ),
      ),
      qemu_nbd_pid: expect.any(Number),
      status: 'qemu_started',
    });
    expect(answer).toMatchObject({
      backup_id: expect.stringMatching(/^backup-pgtest1-\d{8}-\d{6}/),
      disk_results: [disk(0, first), disk(1, second)],
      nbd_targets_string: [
        `${first}:nbd://127.0.0.1:${port}/pgtest1-disk0`,
        `${second}:nbd://127.0.0.1:${port + 1}/pgtest1-disk1`,
      ].join(','),
    });
    const { backup_id: id } = answer as { backup_id: string };
    expect(await all.end(id)).toMatchObject({ state: 'completed', error: null });
  });
});
