import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { JobEvent } from '@sendense/contracts';
import { startLab, type Lab, type LabVm } from '@sendense/lab';
import { formatNbdTargets, probeExport, type NbdTarget } from '@sendense/nbd';
import { QemuImg, QemuNbd } from '@sendense/qemu';
import { OwnedStack, silentLogger } from '@sendense/runtime';
import { temporaryDirectory } from '@sendense/runtime/testing';

const CLIENT = fileURLToPath(new URL('../src/backup-client/main.js', import.meta.url));
const run = promisify(execFile);

/** nbdkit's real plugin, where ./dev leaves it unless told otherwise. */
export const VDDK_PLUGIN =
  process.env['SENDENSE_NBDKIT_VDDK_PLUGIN'] ??
  fileURLToPath(new URL('../../../../.tools/vddk-plugin/nbdkit-vddk-plugin.so', import.meta.url));

/** Tools that a test with a lab needs. */
export const LAB_TOOLS = ['nbdkit', 'qemu-nbd', 'qemu-img', VDDK_PLUGIN];

/** A lab, and QCOW2 targets for what is read from it. */
export interface Stage extends AsyncDisposable {
  readonly lab: Lab;
  readonly folder: string;
  /** For the programs of the node. */
  readonly environment: Readonly<Record<string, string>>;
  /** Serves a new image for each disk of a VM; `onto` makes each an overlay on the image of the same disk there. */
  serve(vm: LabVm, onto?: Targets): Promise<Targets>;
  /** Whether the image of each disk is what that snapshot froze. */
  compare(vm: LabVm, targets: Targets, snapshot: string): Promise<Record<number, boolean>>;
}

export interface Targets extends AsyncDisposable {
  readonly list: readonly NbdTarget[];
  /** As the option --nbd-targets takes them. */
  readonly text: string;
  readonly images: ReadonlyMap<number, string>;
  readonly servers: ReadonlyMap<number, QemuNbd>;
}

export async function startStage(): Promise<Stage> {
  const folder = temporaryDirectory('stage');
  const lab = await startLab({ directory: join(folder.path, 'lab'), keepFrozenImages: true });
  const temporary = join(folder.path, 'tmp');
  mkdirSync(temporary);
  const qemuImg = new QemuImg({});
  let images = 0;
  return {
    lab,
    folder: folder.path,
    environment: {
      ...lab.vddkEnvironment,
      TMPDIR: temporary,
      SENDENSE_VDDK_LIBDIR: lab.vddkLibdir,
      SENDENSE_NBDKIT_VDDK_PLUGIN: VDDK_PLUGIN,
    },
    serve: (vm, onto) => serve(vm, onto, qemuImg, () => join(folder.path, `image-${++images}.qcow2`)),
    async compare(vm, targets, snapshot) {
      const same: Record<number, boolean> = {};
      for (const [key, image] of targets.images) {
        const frozen = await lab.diskImage(vm.moref, key, { snapshot });
        const { identical } = await qemuImg.compare(image, frozen, { formatA: 'qcow2', formatB: 'raw' });
        same[key] = identical;
      }
      return same;
    },
    async [Symbol.asyncDispose]() {
      await lab[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

async function serve(
  vm: LabVm,
  onto: Targets | undefined,
  qemuImg: QemuImg,
  newImage: () => string,
): Promise<Targets> {
  const owned = new OwnedStack(silentLogger);
  const images = new Map<number, string>();
  const servers = new Map<number, QemuNbd>();
  const list: NbdTarget[] = [];
  for (const { key, sizeBytes, mode } of vm.disks) {
    if (mode !== 'persistent') continue;
    const imagePath = newImage();
    const base = onto?.images.get(key);
    const backing = base === undefined ? {} : { backing: { path: base, format: 'qcow2' as const } };
    await qemuImg.create(imagePath, { sizeBytes, ...backing });
    const exportName = `${vm.moref}-disk${key}`;
    const server = await QemuNbd.start({
      imagePath,
      exportName,
      port: await freePort(),
      expectedSizeBytes: sizeBytes,
      connections: 16,
      owner: `test:${process.pid}`,
      log: silentLogger,
      probe: (address, name) => probeExport(address, name, { log: silentLogger }),
    });
    owned.use(exportName, server);
    images.set(key, imagePath);
    servers.set(key, server);
    list.push({ diskKey: key, exportName, address: { kind: 'tcp', host: '127.0.0.1', port: server.port } });
  }
  return {
    list,
    text: formatNbdTargets(list),
    images,
    servers,
    [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** A backup by hand that runs, or ran. */
export interface ByHandRun {
  readonly process: ChildProcess;
  readonly events: JobEvent[];
  /** What it said on stderr so far. */
  readonly stderr: () => string;
  readonly stdout: () => string;
  readonly ended: Promise<number | null>;
}

export interface ByHandRequest {
  readonly vm: LabVm;
  readonly targets: string;
  readonly jobId: string;
  readonly more?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Replaces options of the same name; undefined leaves the option out. */
  readonly options?: Readonly<Record<string, string | undefined>>;
  /** @default true */
  readonly json?: boolean;
}

/** Starts `sendense-backup-client backup --json` as a person would. */
export function startByHand(stage: Stage, request: ByHandRequest): ByHandRun {
  const { lab } = stage;
  const { json = true } = request;
  const options: Record<string, string | undefined> = {
    '--vmware-endpoint': lab.endpoint,
    '--vmware-username': lab.username,
    '--vmware-password-file': lab.passwordFile,
    '--vmware-thumbprint': lab.thumbprints.sha256,
    '--vmware-path': inventoryPath(request.vm),
    '--nbd-targets': request.targets,
    '--job-id': request.jobId,
    ...request.options,
  };
  const given = Object.entries(options).flatMap(([name, value]) =>
    value === undefined ? [] : [name, value],
  );
  const child = spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      CLIENT,
      'backup',
      ...(json ? ['--json'] : []),
      ...given,
      ...(request.more ?? []),
    ],
    {
      env: { PATH: process.env['PATH'], ...stage.environment, ...request.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const events: JobEvent[] = [];
  let stderr = '';
  let stdout = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    stdout += `${line}\n`;
    if (json) events.push(JobEvent.fromJSON(JSON.parse(line)));
  });
  const ended = Promise.all([once(child, 'exit'), once(lines, 'close')]).then(
    ([[code]]) => code as number | null,
  );
  return { process: child, events, stderr: () => stderr, stdout: () => stdout, ended };
}

/** Runs it to its end. */
export async function backUpByHand(
  stage: Stage,
  request: ByHandRequest,
): Promise<ByHandRun & { code: number | null }> {
  const started = startByHand(stage, request);
  return { ...started, code: await started.ended };
}

/** The lab's one datacenter. */
export function inventoryPath(vm: LabVm): string {
  return ['', 'DC0', 'vm', ...(vm.folder === '' ? [] : [vm.folder]), vm.name].join('/');
}

type AnyEvent = NonNullable<JobEvent['event']>;
type Kind = AnyEvent['$case'];
type ValueOf<K extends Kind> = Extract<AnyEvent, { $case: K }>['value'];

/** The events of one kind. */
export function eventsOf<K extends Kind>(events: readonly JobEvent[], kind: K): ValueOf<K>[] {
  return events.flatMap(({ event }) => (event?.$case === kind ? [event.value as ValueOf<K>] : []));
}

/** The processes of this stage whose command line holds this text. Tests of others run at the same time. */
export async function processesOf(stage: Stage, text: string): Promise<number[]> {
  const { stdout } = await run('ps', ['-eo', 'pid,args']);
  return stdout
    .split('\n')
    .filter((line) => line.includes(text) && line.includes(stage.folder))
    .map((line) => Number.parseInt(line, 10));
}
