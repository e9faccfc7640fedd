import { NODE, type Ground } from './ground.js';
import { asking, before, failure, inTheMiddle, type Scenario } from './scenario.js';

/** One request to a vCenter that takes it and never answers has 30 s. */
const MUTE_VCENTER = 35;

const goAway = ({ lab }: Ground) => lab.setFault({ operation: '*', drop: 'before' });

/** To be added once more. */
function vcenter({ lab }: Ground, more: object): object {
  const { endpoint, username, password, thumbprints } = lab;
  const login = { endpoint, username, password, thumbprint: thumbprints.sha256 };
  return { name: 'another', node_name: NODE, ...login, ...more };
}

export const VCENTER_SCENARIOS: readonly Scenario[] = [
  failure(
    'vCenter: wrong password',
    'vcenter_login_failed',
    asking('vcenters', (ground) => vcenter(ground, { password: 'wrong' })),
  ),
  failure(
    'vCenter: wrong thumbprint',
    'vcenter_thumbprint_mismatch',
    asking('vcenters', (ground) => vcenter(ground, { thumbprint: 'AB'.repeat(32) })),
  ),
  failure(
    'vCenter: password changed there',
    'vcenter_login_failed',
    before(({ lab }) => lab.setFault({ operation: 'Login', fault: 'InvalidLogin' })),
  ),
  failure('vCenter closes every connection', 'vcenter_unreachable', before(goAway)),
  failure(
    'vCenter takes requests and never answers',
    'vcenter_unreachable',
    before(({ lab }) => lab.setFault({ operation: '*', delayMs: 120_000 })),
    { limit: MUTE_VCENTER },
  ),
  failure(
    'vCenter is gone in the middle, and the disks with it',
    'nbd_read_failed',
    inTheMiddle((ground) => {
      goAway(ground);
      ground.lab.setFault({ operation: 'vddk.read', fault: '14009' });
    }),
  ),
  failure(
    'vCenter is gone in the middle, disks can be read',
    'snapshot_remove_failed',
    async (ground, strike) => {
      ground.lab.setFault({ operation: 'vddk.read', delayMs: 2000 });
      const { backup_id: id } = await ground.backupWhere(
        'it reads',
        ({ disk_results: [disk] }) => disk?.status === 'copying',
        ground.smallVmName,
      );
      strike();
      goAway(ground);
      return ground.end(id);
    },
    { outcome: 'completed' },
  ),
  failure(
    'snapshot cannot be taken',
    'snapshot_create_failed',
    before(({ lab }) => lab.setFault({ operation: 'CreateSnapshot_Task', fault: 'TooManySnapshotLevels' })),
  ),
  failure(
    'snapshot cannot be removed',
    'snapshot_remove_failed',
    async (ground, strike) => {
      ground.lab.setFault({ operation: 'RemoveSnapshot_Task', fault: 'GenericVmConfigFault' });
      strike();
      return ground.backUp(ground.smallVmName);
    },
    { outcome: 'completed' },
  ),
];
