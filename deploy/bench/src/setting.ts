import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { startLab, type Lab, type LabVm } from '@sendense/lab';
import { OwnedStack, silentLogger } from '@sendense/runtime';
import { NODE_NAME, Stage, startNode, startPair, type Constellation } from '@sendense/stage';
import type { BenchOptions } from './options.js';
import { DelayingRelay } from './relay.js';
import { requireSpace } from './space.js';
import { createWorkloadVm, describeWorkload, type Workload } from './workloads.js';

const FAR_NODE = 'far-node';

/** A VM that the hub protects. */
export interface ProtectedWorkload extends Workload {
  readonly vm: LabVm;
}

/** Lab, hub and node as a person would start them, with the VMs that are backed up. */
export interface Setting extends AsyncDisposable {
  readonly stage: Stage;
  readonly lab: Lab;
  readonly pair: Constellation;
  readonly repositoryId: string;
  readonly workloads: readonly ProtectedWorkload[];
  /** Dense data, behind a line that can be made long. */
  readonly far: { readonly workload: ProtectedWorkload; readonly relay: DelayingRelay } | undefined;
}

/** @throws `out_of_space`, and whatever keeps the programs from starting */
export async function openSetting(options: BenchOptions, say: (text: string) => void): Promise<Setting> {
  const workloads = options.workloads.map((name) => describeWorkload(name, options.sizeMib));
  const farWorkload =
    options.roundTripsMs.length > 0 ? describeWorkload('dense', options.sizeMib) : undefined;
  mkdirSync(options.directory, { recursive: true });
  requireSpace(options.directory, farWorkload ? [...workloads, farWorkload] : workloads);
  const directory = mkdtempSync(join(options.directory, 'sendense-bench-'));
  await using owned = new OwnedStack(silentLogger);
  owned.defer('directory', async () => rmSync(directory, { recursive: true, force: true }));
  const stage = await Stage.prepare(directory);

  say(`starting lab, hub and node in ${directory}`);
  const lab = owned.use('lab', await startLab({ directory: stage.path('lab') }));
  owned.defer('programs', async () => void (await Stage.stop(directory)));
  // For the nbdkit of the yardstick, which is started from here.
  Object.assign(process.env, lab.vddkEnvironment);
  const facts = labFacts(lab);
  const pair = await startPair(stage, facts, { showPreflight: false });
  const { repository_id: repositoryId } = await pair.cli<{ repository_id: string }>(
    ...['repository', 'add', 'bench', '--path', stage.path('repository')],
  );
  say('writing the disks of the VMs');
  const near = await addVcenter(pair, 'near', NODE_NAME);
  const protectedWorkloads: ProtectedWorkload[] = [];
  for (const workload of workloads)
    protectedWorkloads.push(await protect(lab, pair, workload, near, workload.name));

  let far: Setting['far'];
  if (farWorkload) {
    const relay = owned.use('relay', await DelayingRelay.start(pair.tunnelPort));
    await startNode(stage, {
      ...{ name: FAR_NODE, folder: 'far', hubPort: relay.port, lab: facts, cli: pair.cli },
      showPreflight: false,
    });
    const vcenter = await addVcenter(pair, 'far', FAR_NODE);
    far = { workload: await protect(lab, pair, farWorkload, vcenter, 'far'), relay };
  }
  const all = owned.move();
  const release = () => all[Symbol.asyncDispose]();
  return {
    stage,
    lab,
    pair,
    repositoryId,
    workloads: protectedWorkloads,
    far,
    [Symbol.asyncDispose]: release,
  };
}

async function addVcenter({ cli, lab }: Constellation, name: string, node: string): Promise<string> {
  const added = await cli<{ vcenter_id: string }>(
    ...['vcenter', 'add', name, '--node', node, '--endpoint', new URL(lab.endpoint).host],
    ...['--username', lab.username, '--password-file', lab.password_file],
    ...['--thumbprint', lab.thumbprint_sha256],
  );
  return added.vcenter_id;
}

async function protect(
  lab: Lab,
  { cli }: Constellation,
  workload: Workload,
  vcenterId: string,
  vmName: string,
): Promise<ProtectedWorkload> {
  const vm = await createWorkloadVm(lab, workload, vmName);
  await cli('vm', 'protect', vmName, '--vcenter', vcenterId);
  return { ...workload, vm };
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
