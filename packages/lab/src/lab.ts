import { randomBytes } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildInfo, lockDirectory, OwnedStack, silentLogger } from '@sendense/runtime';
import { loadCertificate } from './certificate.js';
import { ChangeLogs, VmLocks, type LabContext } from './context.js';
import { Faults } from './faults.js';
import { emptyState } from './model/inventory.js';
import { StateFile, type LabState } from './model/state.js';
import { RunningLab } from './running-lab.js';
import { LayerStore } from './storage/layer-store.js';
import type { Lab, LabOptions } from './types.js';
import { VddkDirectory } from './vddk/directory.js';
import { VimServer } from './vim-server.js';
import { replaceFile } from './replace-file.js';

/** Where `make` puts the stand-in library, laid out as a VDDK distribution. */
const VDDK_LIBDIR = fileURLToPath(new URL('../../native/build/vddk', import.meta.url));

/**
 * Starts the lab in this process, or goes on with what its directory holds.
 * @throws `data_directory_in_use` · `port_in_use` · `process_failed` without openssl
 */
export async function startLab(options: LabOptions): Promise<Lab> {
  const log = options.log ?? silentLogger;
  const directory = resolve(options.directory);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await using owned = new OwnedStack(log);
  owned.use('lock', lockDirectory(directory, { service: 'sendense-lab', version: buildInfo.version }));

  const file = await StateFile.open(directory, emptyState);
  const { state } = file;
  const layers = new LayerStore(join(directory, 'layers'), () => state.nextLayer++);
  layers.removeStrays(knownLayers(state));
  owned.defer('layers', () => layers.close());
  const changeLogs = new ChangeLogs(join(directory, 'changes'));
  owned.defer('change logs', () => changeLogs.close());
  const vddk = await VddkDirectory.open(join(directory, 'vddk'));
  owned.defer('VDDK directory', () => vddk.close());
  const context: LabContext = {
    directory,
    state,
    file,
    layers,
    changeLogs,
    locks: new VmLocks(),
    vddk,
    keepFrozenImages: options.keepFrozenImages ?? false,
    changeIdsInFirstSnapshot: options.changeIdsInFirstSnapshot ?? false,
    log,
  };

  const faults = new Faults(state, vddk.faults);
  const passwordFile = join(directory, 'password');
  const credentials = {
    username: options.username ?? 'administrator@vsphere.local',
    password: await settlePassword(passwordFile, options.password),
  };
  const certificate = await loadCertificate(directory);
  const server = owned.use(
    'vCenter',
    await VimServer.start({
      context,
      faults,
      certificate,
      credentials,
      listen: options.listen ?? { host: '127.0.0.1', port: 0 },
      hostNames: options.hostNames ?? [],
      taskDurationMs: options.taskDurationMs ?? 50,
      sessionIdleMs: options.sessionIdleMs ?? 30 * 60_000,
    }),
  );
  await vddk.publishServer({
    hosts: [...new Set([server.host, ...(options.hostNames ?? []), '127.0.0.1', 'localhost'])],
    port: server.port,
    ...credentials,
    thumbprints: certificate.thumbprints,
  });
  return new RunningLab(
    context,
    faults,
    server,
    { ...credentials, passwordFile, vddkLibdir: VDDK_LIBDIR },
    owned.move(),
  );
}

function knownLayers(state: LabState): Set<string> {
  const vmdks = state.vms.flatMap((vm) => Object.values(vm.vmdks));
  return new Set([...vmdks, ...state.kept].flatMap(({ layers }) => layers));
}

/** The given password, or the directory's own; either way it ends up in the file, for others to read. */
async function settlePassword(path: string, given: string | undefined): Promise<string> {
  let kept: string | undefined;
  try {
    kept = (await readFile(path, 'utf8')).replace(/\n$/, '');
  } catch {
    // The first start.
  }
  const password = given ?? kept ?? randomBytes(12).toString('base64url');
  if (password !== kept) await replaceFile(path, `${password}\n`, 0o600);
  return password;
}
