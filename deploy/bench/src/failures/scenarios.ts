import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { toSendenseError } from '@sendense/core';
import type { Ground, Told } from './ground.js';

/** Issue and requirement C11 speak of 10 s; B5 of 30 s for a peer that is dead without a word. */
const SOON = 10;
const DEAD_PEER = 30;
/** One request to a vCenter that takes it and never answers. */
const MUTE_VCENTER = 35;
/** POST /api/v1/backups. */
const ANSWER = 2;

export interface Scenario {
  readonly title: string;
  /** Seconds from the strike until somebody is told. */
  readonly limit: number;
  readonly outcome: Told['outcome'];
  readonly code: string;
  /** Only where the repository is a file system of its own. */
  readonly needsMount?: boolean;
  /** Breaks something, calls `strike` when it is broken, and sees what is told. */
  readonly run: (ground: Ground, strike: () => void) => Promise<Told>;
  /** Puts right what does not right itself. */
  readonly mend?: (ground: Ground) => Promise<void> | void;
}

const drop = (ground: Ground) => ground.programs.lab.setFault({ operation: '*', drop: 'before' });

/** Something is broken before a backup is asked for. */
function before(breakIt: (ground: Ground) => unknown): Scenario['run'] {
  return async (ground, strike) => {
    await breakIt(ground);
    strike();
    return ground.backUp();
  };
}

/** Something breaks while bytes flow. */
function inTheMiddle(breakIt: (ground: Ground, pids: number[]) => unknown): Scenario['run'] {
  return async (ground, strike) => {
    const backup = await ground.flowing();
    const pids = backup.disk_results.flatMap(({ qemu_nbd_pid: pid }) => pid ?? []);
    strike();
    await breakIt(ground, pids);
    return ground.end(backup.backup_id);
  };
}

function refusal(path: string, body: (ground: Ground) => object): Scenario['run'] {
  return async (ground, strike) => {
    strike();
    return ground.refused(path, body(ground));
  };
}

function vcenterBody({ programs: { lab } }: Ground): object {
  const { endpoint, username, password, thumbprints } = lab;
  return {
    ...{ name: 'another', node_name: 'node-1', endpoint, username, password },
    thumbprint: thumbprints.sha256,
  };
}

const failed = (title: string, code: string, run: Scenario['run'], mend?: Scenario['mend']): Scenario => ({
  ...{ title, limit: SOON, outcome: 'error', code, run },
  ...(mend ? { mend } : {}),
});

const restore = (tool: 'qemu-nbd' | 'qemu-img' | 'nbdkit') => (ground: Ground) =>
  ground.breakTool(tool, `exec ${tool} "$@"`);

export const SCENARIOS: readonly Scenario[] = [
  {
    ...failed('POST /api/v1/backups answers', '', async (ground, strike) => {
      strike();
      return ground.refused('backups', ground.backupOf(ground.smallVmName));
    }),
    ...{ limit: ANSWER, outcome: 'accepted' },
  },
  {
    ...failed(
      'POST /api/v1/backups answers while qemu-img hangs',
      '',
      async (ground, strike) => {
        ground.breakTool('qemu-img', 'exec sleep 600');
        strike();
        const { body } = await ground.request<{ backup_id: string }>('backups', ground.backupOf());
        void ground.request(`backups/${body.backup_id}/cancel`, {});
        return { outcome: 'accepted', code: '', message: '' };
      },
      restore('qemu-img'),
    ),
    ...{ limit: ANSWER, outcome: 'accepted' },
  },

  {
    ...failed(
      'repository is not mounted',
      'repository_missing',
      before((ground) => ground.moveRepository(true)),
      (ground) => ground.moveRepository(false),
    ),
    needsMount: true,
  },
  {
    ...failed(
      'repository is read-only',
      'repository_not_writable',
      before((ground) => ground.remountRepository('ro')),
      (ground) => ground.remountRepository('rw'),
    ),
    needsMount: true,
  },
  {
    ...failed(
      'repository is full before',
      'repository_full',
      before((ground) => ground.fillRepository(16)),
      removeFiller,
    ),
    needsMount: true,
  },
  {
    ...failed(
      'repository is full in the middle',
      'repository_full',
      inTheMiddle((ground) => ground.fillRepository(0)),
      removeFiller,
    ),
    needsMount: true,
  },
  failed(
    'image cannot be created',
    'target_create_failed',
    async (ground, strike) => {
      const folder = await ground.imageFolder();
      mkdirSync(dirname(folder), { recursive: true });
      writeFileSync(folder, 'in the way');
      strike();
      return ground.backUp();
    },
    async (ground) => rmSync(dirname(await ground.imageFolder()), { recursive: true }),
  ),

  failed(
    'qemu-nbd is missing',
    'qemu_nbd_missing',
    before((ground) => ground.breakTool('qemu-nbd', undefined)),
    restore('qemu-nbd'),
  ),
  failed(
    'qemu-nbd dies at its start',
    'qemu_nbd_failed',
    before((ground) => ground.breakTool('qemu-nbd', 'echo broken >&2; exit 3')),
    restore('qemu-nbd'),
  ),
  failed(
    'qemu-nbd is killed in the middle',
    'qemu_nbd_died',
    inTheMiddle((_, [pid]) => process.kill(pid ?? -1, 'SIGKILL')),
  ),

  failed(
    'node is offline',
    'node_offline',
    before(async (ground) => {
      await ground.programs.stage.kill('sendense-node');
      await ground.nodeOffline();
    }),
    (ground) => ground.startNode(),
  ),
  failed(
    'node is killed in the middle',
    'node_lost',
    inTheMiddle((ground) => ground.programs.stage.kill('sendense-node')),
    (ground) => ground.startNode(),
  ),
  failed(
    'tunnel is cut in the middle, and back',
    'tunnel_lost',
    inTheMiddle((ground) => ground.node.relay.cut()),
  ),
  {
    ...failed(
      'line to the node is dead without a word',
      'node_lost',
      inTheMiddle((ground) => (ground.node.relay.silent = true)),
      (ground) => {
        ground.node.relay.silent = false;
        ground.node.relay.cut();
      },
    ),
    limit: DEAD_PEER,
  },

  failed(
    'vCenter: wrong password',
    'vcenter_login_failed',
    refusal('vcenters', (ground) => ({ ...vcenterBody(ground), password: 'wrong' })),
  ),
  failed(
    'vCenter: wrong thumbprint',
    'vcenter_thumbprint_mismatch',
    refusal('vcenters', (ground) => ({ ...vcenterBody(ground), thumbprint: 'AB:'.repeat(31) + 'AB' })),
  ),
  failed(
    'vCenter: password changed there',
    'vcenter_login_failed',
    before(({ programs: { lab } }) => lab.setFault({ operation: 'Login', fault: 'InvalidLogin' })),
  ),
  failed('vCenter closes every connection', 'vcenter_unreachable', before(drop)),
  {
    ...failed(
      'vCenter takes requests and never answers',
      'vcenter_unreachable',
      before(({ programs: { lab } }) => lab.setFault({ operation: '*', delayMs: 120_000 })),
    ),
    limit: MUTE_VCENTER,
  },
  failed(
    'vCenter is gone in the middle, and the disks with it',
    'nbd_read_failed',
    inTheMiddle((ground) => {
      drop(ground);
      ground.programs.lab.setFault({ operation: 'vddk.read', fault: '14009' });
    }),
  ),
  {
    ...failed(
      'vCenter is gone in the middle, disks can be read',
      'snapshot_remove_failed',
      async (ground, strike) => {
        ground.programs.lab.setFault({ operation: 'vddk.read', delayMs: 2000 });
        const { backup_id: id } = await ground.backupWhere(
          'it reads',
          ({ disk_results: [disk] }) => disk?.status === 'copying',
          ground.smallVmName,
        );
        strike();
        drop(ground);
        return ground.end(id);
      },
    ),
    outcome: 'completed',
  },
  failed(
    'VM is unknown',
    'vm_not_protected',
    refusal('backups', (ground) => ground.backupOf('nobody')),
  ),

  failed(
    'VDDK directory is missing',
    'vddk_library_missing',
    before((ground) => ground.setVddk(undefined)),
    (ground) => ground.setVddk(ground.programs.lab.vddkLibdir),
  ),
  failed(
    'VDDK directory is a wrong one',
    'vddk_library_missing',
    before((ground) => {
      ground.setVddk(ground.programs.stage.path('work'));
    }),
    (ground) => ground.setVddk(ground.programs.lab.vddkLibdir),
  ),
  failed(
    'nbdkit is missing',
    'nbdkit_missing',
    before((ground) => ground.breakTool('nbdkit', undefined)),
    restore('nbdkit'),
  ),
  failed(
    'nbdkit is killed in the middle',
    'nbdkit_died',
    inTheMiddle((ground) => process.kill(ground.nbdkitPid(), 'SIGKILL')),
  ),
  failed(
    'snapshot cannot be taken',
    'snapshot_create_failed',
    before(({ programs: { lab } }) =>
      lab.setFault({ operation: 'CreateSnapshot_Task', fault: 'TooManySnapshotLevels' }),
    ),
  ),
  {
    ...failed('snapshot cannot be removed', 'snapshot_remove_failed', async (ground, strike) => {
      const { lab } = ground.programs;
      lab.setFault({ operation: 'RemoveSnapshot_Task', fault: 'GenericVmConfigFault' });
      strike();
      return ground.backUp(ground.smallVmName);
    }),
    outcome: 'completed',
  },

  {
    ...failed('cancelled while bytes flow', '', async (ground, strike) => {
      const { backup_id: id } = await ground.flowing();
      strike();
      await ground.request(`backups/${id}/cancel`, {});
      return ground.end(id);
    }),
    outcome: 'cancelled',
  },
  failed('second backup of the same VM', 'backup_already_running', async (ground, strike) => {
    const { backup_id: id } = await ground.flowing();
    strike();
    const told = await ground.refused('backups', ground.backupOf());
    void ground.request(`backups/${id}/cancel`, {});
    return told;
  }),
  failed('second hub on the same data directory', '', async (ground, strike) => {
    const { stage, pair } = ground.programs;
    strike();
    try {
      await stage.run('sendense-hub', ['run'], pair.hubEnvironment);
      return { outcome: 'accepted', code: '', message: '' };
    } catch (error) {
      return { outcome: 'error', code: '', message: toSendenseError(error).message };
    }
  }),
  failed('hub is killed in the middle, from its next start on', 'hub_restarted', async (ground, strike) => {
    const { backup_id: id } = await ground.flowing();
    await ground.programs.stage.kill('sendense-hub');
    strike();
    await ground.startHub();
    return ground.end(id);
  }),
];

/** Two that show that all of it works. */
export const QUICK_SCENARIOS = ['qemu-nbd is killed in the middle', 'VM is unknown'];

function removeFiller({ programs: { repositoryPath } }: Ground): void {
  rmSync(`${repositoryPath}/filler`, { force: true });
}
