import { startLab, type Lab } from '@sendense/lab';
import { OwnedStack, silentLogger } from '@sendense/runtime';
import { Stage, startNode, startPair, type Constellation } from '@sendense/stage';
import { DelayingRelay } from './relay.js';
import { Scratch } from './scratch.js';

/** Lab, hub and node as a person would start them, in a directory that goes with them. */
export interface Programs {
  readonly stage: Stage;
  readonly lab: Lab;
  readonly pair: Constellation;
  readonly repositoryId: string;
  readonly repositoryPath: string;
}

/** @param parent a new directory is made in it. @throws whatever keeps the programs from starting */
export async function startPrograms(
  parent: string,
  say: (text: string) => void,
  hubSettings: (made: Pick<Programs, 'stage' | 'lab'>) => Record<string, string> = () => ({}),
): Promise<Programs & AsyncDisposable> {
  await using owned = new OwnedStack(silentLogger);
  const { path: directory } = owned.use('directory', Scratch.make(parent));
  const stage = await Stage.prepare(directory);
  say(`starting lab, hub and node in ${directory}`);
  const lab = owned.use('lab', await startLab({ directory: stage.path('lab') }));
  owned.defer('programs', async () => void (await Stage.stop(directory)));
  // For the nbdkit of the yardstick, which is started from here.
  Object.assign(process.env, lab.vddkEnvironment);
  const pair = await startPair(stage, labFacts(lab), {
    showPreflight: false,
    hubSettings: hubSettings({ stage, lab }),
  });
  const repositoryPath = stage.path('repository');
  const { repository_id: repositoryId } = await pair.cli<{ repository_id: string }>(
    ...['repository', 'add', 'bench', '--path', repositoryPath],
  );
  const all = owned.move();
  const release = () => all[Symbol.asyncDispose]();
  return { stage, lab, pair, repositoryId, repositoryPath, [Symbol.asyncDispose]: release };
}

/** The lab's vCenter as the hub reaches it through a node. @returns its id */
export async function addVcenter({ pair }: Programs, name: string, node: string): Promise<string> {
  const { cli, lab } = pair;
  const added = await cli<{ vcenter_id: string }>(
    ...['vcenter', 'add', name, '--node', node, '--endpoint', new URL(lab.endpoint).host],
    ...['--username', lab.username, '--password-file', lab.password_file],
    ...['--thumbprint', lab.thumbprint_sha256],
  );
  return added.vcenter_id;
}

export interface RelayedNode {
  readonly relay: DelayingRelay;
  readonly vcenterId: string;
  /** To start it again. */
  readonly environment: Record<string, string>;
}

/** One more node, whose every byte to and from the hub goes through a relay, and the lab's vCenter behind it. */
export async function startRelayedNode(
  programs: Programs,
  name: string,
  settings: Record<string, string> = {},
): Promise<RelayedNode> {
  const { stage, pair } = programs;
  await using owned = new OwnedStack(silentLogger);
  const relay = owned.use('relay', await DelayingRelay.start(pair.tunnelPort));
  const environment = await startNode(stage, {
    ...{ name, folder: name, hubPort: relay.port, lab: pair.lab, cli: pair.cli },
    ...{ showPreflight: false, settings },
  });
  const vcenterId = await addVcenter(programs, `of-${name}`, name);
  owned.move();
  return { relay, vcenterId, environment };
}

function labFacts(lab: Lab): Constellation['lab'] {
  return {
    endpoint: lab.endpoint,
    thumbprint_sha256: lab.thumbprints.sha256,
    username: lab.username,
    password_file: lab.passwordFile,
    vddk_libdir: lab.vddkLibdir,
    vddk_env: { ...lab.vddkEnvironment },
  };
}
