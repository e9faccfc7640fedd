import { rmSync } from 'node:fs';
import type { LabSnapshot } from '@sendense/lab';
import { probeExport } from '@sendense/nbd';
import { NbdkitVddk, QemuImg, QemuNbd, type ExportProbe } from '@sendense/qemu';
import { OwnedStack, runCommand, silentLogger } from '@sendense/runtime';
import { freePort } from '@sendense/stage';
import { requireData, type Timing } from './full-path.js';
import { OpenSshForward } from './openssh.js';
import type { ProtectedWorkload, Setting } from './setting.js';

export type Way = 'direct' | 'ssh';

const log = silentLogger;
/** As the hub starts its own. */
const CONNECTIONS = 10;

const probe: ExportProbe = (address, exportName, signal) =>
  probeExport(address, exportName, { log, ...(signal ? { signal } : {}) });

/**
 * The yardstick: `nbdcopy` from nbdkit's VDDK plugin, started as the backup client starts it on a snapshot of the same VM,
 * into a fresh QCOW2 image behind a qemu-nbd, started as the hub starts it. Its own defaults (4 connections of 64 requests
 * each) but for one thing: it is told that the image reads as zeros, as the backup client knows.
 */
export async function copyWithNbdcopy(
  setting: Setting,
  workload: ProtectedWorkload,
  way: Way,
): Promise<Timing> {
  const { lab } = setting;
  await using owned = new OwnedStack(log);
  const snapshot = await lab.createSnapshot(workload.vm.moref, { name: 'yardstick' });
  owned.defer('snapshot', () => lab.removeSnapshot(workload.vm.moref, snapshot.moref));
  const copies = await Promise.all(
    snapshot.disks.map(({ key }) => prepareCopy(setting, workload, { way, snapshot, key, owned })),
  );
  const copyStartedAt = performance.now();
  await Promise.all(copies.map((copy) => copy.run()));
  const copySeconds = (performance.now() - copyStartedAt) / 1000;
  for (const copy of copies) await copy.finish();
  return { copySeconds };
}

interface Copy {
  run(): Promise<unknown>;
  /** Closes the image and makes sure that it is a copy. */
  finish(): Promise<void>;
}

interface CopyParts {
  readonly way: Way;
  readonly snapshot: LabSnapshot;
  readonly key: number;
  readonly owned: OwnedStack;
}

async function prepareCopy(setting: Setting, workload: ProtectedWorkload, parts: CopyParts): Promise<Copy> {
  const { key, way, owned } = parts;
  const source = owned.use('nbdkit', await openSource(setting, workload, parts));
  const image = setting.stage.path('work', `${key}.qcow2`);
  owned.defer('image', async () => rmSync(image, { force: true }));
  await new QemuImg({}).create(image, { sizeBytes: source.sizeBytes });
  const exportName = `disk${key}`;
  const target = await QemuNbd.start({
    imagePath: image,
    exportName,
    port: await freePort(),
    expectedSizeBytes: source.sizeBytes,
    connections: CONNECTIONS,
    owner: `bench:${process.pid}`,
    log,
    probe,
  });
  owned.use('qemu-nbd', target);
  const port = way === 'direct' ? target.port : await forward(setting, key, target.port, owned);
  return {
    run: () =>
      runCommand(
        'nbdcopy',
        [
          ...['--flush', '--destination-is-zero'],
          `nbd+unix:///?socket=${source.address.path}`,
          `nbd://127.0.0.1:${port}/${exportName}`,
        ],
        { code: 'process_failed', what: 'nbdcopy', missingHint: 'install libnbd-bin' },
      ),
    async finish() {
      await target.stop();
      requireData(image, workload.dataMib);
    },
  };
}

function openSource(
  { lab, stage }: Setting,
  { vm }: ProtectedWorkload,
  { snapshot, key }: CopyParts,
): Promise<NbdkitVddk> {
  const disk = snapshot.disks.find((candidate) => candidate.key === key);
  const plugin = process.env['SENDENSE_NBDKIT_VDDK_PLUGIN'];
  return NbdkitVddk.start({
    ...(plugin ? { plugin } : {}),
    libdir: lab.vddkLibdir,
    server: `${lab.host}:${lab.port}`,
    username: lab.username,
    password: lab.password,
    thumbprintSha1: lab.thumbprints.sha1,
    vmMoref: vm.moref,
    snapshotMoref: snapshot.moref,
    diskFile: disk?.fileName ?? '',
    socketPath: stage.path('run', `yardstick-${key}.sock`),
    owner: `bench:${process.pid}`,
    log,
    probe,
  });
}

async function forward(setting: Setting, key: number, target: number, owned: OwnedStack): Promise<number> {
  const folder = setting.stage.path('work', `ssh-${key}`);
  owned.defer('keys', async () => rmSync(folder, { recursive: true, force: true }));
  const ports = { ssh: await freePort(), local: await freePort(), target };
  return owned.use('ssh -L', await OpenSshForward.start(folder, ports)).localPort;
}
