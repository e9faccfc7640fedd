import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { toSendenseError } from '@sendense/core';
import { ACCEPTED, type Ground } from './ground.js';
import { asking, before, failure, inTheMiddle, type Scenario } from './scenario.js';

/** POST /api/v1/backups: what the answer may take. */
const ANSWER = { limit: 2, outcome: 'accepted' } as const;
const MOUNT = { needsMount: true, mend: ({ mounted }: Ground) => mounted.empty() };

export const HUB_SCENARIOS: readonly Scenario[] = [
  failure(
    'POST /api/v1/backups answers',
    '',
    asking('backups', (ground) => ground.backupOf(ground.smallVmName)),
    ANSWER,
  ),
  failure(
    'POST /api/v1/backups answers while qemu-img hangs',
    '',
    async (ground, strike) => {
      ground.tools.break('qemu-img', 'exec sleep 600');
      strike();
      return ground.ask('backups', ground.backupOf());
    },
    { ...ANSWER, mend: ({ tools }) => tools.mend('qemu-img') },
  ),

  failure(
    'repository is not mounted',
    'repository_missing',
    before(({ mounted }) => mounted.cover()),
    { needsMount: true, mend: ({ mounted }) => mounted.uncover() },
  ),
  failure(
    'repository is read-only',
    'repository_not_writable',
    before(({ mounted }) => mounted.remount('ro')),
    { needsMount: true, mend: ({ mounted }) => mounted.remount('rw') },
  ),
  failure(
    'repository is full before',
    'repository_full',
    before(({ mounted }) => mounted.fill(16)),
    MOUNT,
  ),
  failure(
    'repository is full in the middle',
    'repository_full',
    inTheMiddle(({ mounted }) => mounted.fill(0)),
    MOUNT,
  ),
  failure(
    'image cannot be created',
    'target_create_failed',
    before(async (ground) => {
      const folder = await ground.imageFolder();
      mkdirSync(dirname(folder), { recursive: true });
      writeFileSync(folder, 'in the way');
    }),
    { mend: async (ground) => rmSync(dirname(await ground.imageFolder()), { recursive: true }) },
  ),

  failure(
    'qemu-nbd is missing',
    'qemu_nbd_missing',
    before(({ tools }) => tools.break('qemu-nbd', undefined)),
    { mend: ({ tools }) => tools.mend('qemu-nbd') },
  ),
  failure(
    'qemu-nbd dies at its start',
    'qemu_nbd_failed',
    before(({ tools }) => tools.break('qemu-nbd', 'echo broken >&2; exit 3')),
    { mend: ({ tools }) => tools.mend('qemu-nbd') },
  ),
  failure(
    'qemu-nbd is killed in the middle',
    'qemu_nbd_died',
    inTheMiddle((_, [pid]) => process.kill(pid ?? -1, 'SIGKILL')),
  ),

  failure(
    'VM is unknown',
    'vm_not_protected',
    asking('backups', (ground) => ground.backupOf('nobody')),
  ),
  failure('second backup of the same VM', 'backup_already_running', async (ground, strike) => {
    await ground.flowing();
    strike();
    return ground.ask('backups', ground.backupOf());
  }),
  failure(
    'cancelled while bytes flow',
    '',
    async (ground, strike) => {
      const { backup_id: id } = await ground.flowing();
      strike();
      await ground.request(`backups/${id}/cancel`, {});
      return ground.end(id);
    },
    { outcome: 'cancelled' },
  ),
  failure('second hub on the same data directory', '', async ({ stage, hubEnvironment }, strike) => {
    strike();
    try {
      await stage.run('sendense-hub', ['run'], hubEnvironment);
      return ACCEPTED;
    } catch (error) {
      return { outcome: 'error', code: '', message: toSendenseError(error).message };
    }
  }),
  failure('hub is killed in the middle, from its next start on', 'hub_restarted', async (ground, strike) => {
    const { backup_id: id } = await ground.flowing();
    await ground.stage.kill('sendense-hub');
    strike();
    await ground.startHub();
    return ground.end(id);
  }),
];
