import { before, failure, inTheMiddle, type Scenario } from './scenario.js';

/** Requirement B5: a peer that is dead without a word. */
const DEAD_PEER = 30;

export const NODE_SCENARIOS: readonly Scenario[] = [
  failure(
    'node is offline',
    'node_offline',
    before(async (ground) => {
      await ground.stage.kill('sendense-node');
      await ground.untilNode('offline');
    }),
    { mend: (ground) => ground.startNode() },
  ),
  failure(
    'node is killed in the middle',
    'node_lost',
    inTheMiddle(({ stage }) => stage.kill('sendense-node')),
    { mend: (ground) => ground.startNode() },
  ),
  failure(
    'tunnel is cut in the middle, and back',
    'tunnel_lost',
    inTheMiddle(({ relay }) => relay.cut()),
  ),
  failure(
    'line to the node is dead without a word',
    'node_lost',
    inTheMiddle(({ relay }) => (relay.silent = true)),
    {
      limit: DEAD_PEER,
      mend: ({ relay }) => {
        relay.silent = false;
        relay.cut();
      },
    },
  ),

  failure(
    'VDDK directory is missing',
    'vddk_library_missing',
    before(({ tools }) => tools.breakVddk(undefined)),
    { mend: ({ tools }) => tools.mendVddk() },
  ),
  failure(
    'VDDK directory is a wrong one',
    'vddk_library_missing',
    before(({ tools, stage }) => tools.breakVddk(stage.path('work'))),
    { mend: ({ tools }) => tools.mendVddk() },
  ),
  failure(
    'nbdkit is missing',
    'nbdkit_missing',
    before(({ tools }) => tools.break('nbdkit', undefined)),
    { mend: ({ tools }) => tools.mend('nbdkit') },
  ),
  failure(
    'nbdkit is killed in the middle',
    'nbdkit_died',
    inTheMiddle((ground) => process.kill(ground.nbdkitPid(), 'SIGKILL')),
  ),
];
