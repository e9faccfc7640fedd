import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SendenseError, toSendenseError } from '@sendense/core';
import { runCommand } from '@sendense/runtime';

export interface ToolCheck {
  /** `nbdkit`, `vddk_plugin`, `vddk_library` */
  readonly name: string;
  readonly ok: boolean;
  /** What was found, or what is wrong and how to fix it. */
  readonly detail: string;
}

export interface NbdkitCheckOptions {
  /** @default 'nbdkit' */
  readonly command?: string;
  /** @default 'vddk' */
  readonly plugin?: string;
  readonly libdir?: string;
  readonly signal?: AbortSignal;
}

const TIMEOUT_MS = 10_000;

/** Whether nbdkit, its VDDK plugin and VMware's library are there and work together. A check that fails never throws. */
export async function checkNbdkit(o: NbdkitCheckOptions = {}): Promise<ToolCheck[]> {
  const nbdkit = await check('nbdkit', async () => {
    const { stdout } = await run(o, ['--version']);
    return stdout.trim().split('\n')[0] ?? '';
  });
  const plugin = await check('vddk_plugin', async () => {
    if (!nbdkit.ok) throw notChecked('nbdkit');
    const facts = await dumpPlugin(o);
    return `version ${facts.get('version')} (${facts.get('path')})`;
  });
  const library = await check('vddk_library', async () => {
    if (!plugin.ok) throw notChecked('the plugin');
    const facts = await loadLibrary(o);
    return `VDDK ${facts.get('vddk_library_version')} (${facts.get('vddk_dll') ?? facts.get('path')})`;
  });
  return [nbdkit, plugin, library];
}

/**
 * The same, for those who need all three, in a single run of nbdkit where they are there.
 *
 * @throws `nbdkit_missing` · `vddk_plugin_missing` · `vddk_library_missing`
 */
export async function requireNbdkit(o: NbdkitCheckOptions): Promise<void> {
  try {
    await loadLibrary(o);
  } catch (error) {
    // A library cannot be loaded by what is missing itself.
    await run(o, ['--version']);
    await dumpPlugin(o);
    throw error;
  }
}

async function check(name: string, find: () => Promise<string>): Promise<ToolCheck> {
  try {
    return { name, ok: true, detail: await find() };
  } catch (error) {
    return { name, ok: false, detail: toSendenseError(error).message };
  }
}

async function run(o: NbdkitCheckOptions, args: readonly string[]) {
  return runCommand(o.command ?? 'nbdkit', args, {
    code: 'nbdkit_failed',
    what: 'checking nbdkit',
    missingCode: 'nbdkit_missing',
    missingHint: 'install the package nbdkit, or set SENDENSE_NBDKIT to its path',
    timeoutMs: TIMEOUT_MS,
    ...(o.signal ? { signal: o.signal } : {}),
  });
}

/** What the plugin says of itself once it has loaded the library from where a backup would have it. */
async function loadLibrary(o: NbdkitCheckOptions): Promise<Map<string, string>> {
  const libdir = o.libdir ?? (await dumpPlugin(o)).get('vddk_default_libdir') ?? '';
  const facts = await dumpPlugin(o, libdir);
  if (facts.has('vddk_library_version')) return facts;
  throw await libraryMissing(libdir);
}

/** The `key=value` lines of `nbdkit PLUGIN --dump-plugin`; the library is only loaded for them when a libdir is named. */
async function dumpPlugin(o: NbdkitCheckOptions, libraryFrom?: string): Promise<Map<string, string>> {
  const plugin = o.plugin ?? 'vddk';
  const libdir = libraryFrom === undefined ? [] : [`libdir=${libraryFrom}`];
  try {
    const { stdout } = await run(o, [plugin, '--dump-plugin', ...libdir]);
    const pairs = stdout.split('\n').map((line) => line.split('=', 2));
    return new Map(pairs.flatMap(([key, value]) => (key && value !== undefined ? [[key, value]] : [])));
  } catch (error) {
    if (libraryFrom !== undefined) throw await libraryMissing(libraryFrom, error);
    throw new SendenseError(
      'vddk_plugin_missing',
      `nbdkit cannot load its VDDK plugin '${plugin}': install nbdkit-plugin-vddk (Debian 13, contrib), or set SENDENSE_NBDKIT_VDDK_PLUGIN to the path of nbdkit-vddk-plugin.so (${toSendenseError(error).message})`,
      { cause: error },
    );
  }
}

async function libraryMissing(libdir: string, cause?: unknown): Promise<SendenseError> {
  const folder = join(libdir, 'lib64');
  const found = await readdir(folder).catch(() => undefined);
  const libraries = found?.filter((name) => name.startsWith('libvixDiskLib.so.')) ?? [];
  const what = found
    ? libraries.length > 0
      ? `${folder} holds ${libraries.join(', ')}, which the plugin cannot load`
      : `${folder} holds no libvixDiskLib.so`
    : `there is no folder ${folder}`;
  return new SendenseError(
    'vddk_library_missing',
    `VMware's VDDK library is not usable: ${what}. Download VDDK from VMware, unpack it, and set SENDENSE_VDDK_LIBDIR to its folder vmware-vix-disklib-distrib`,
    { cause, context: { libdir } },
  );
}

function notChecked(missing: string): SendenseError {
  return new SendenseError('nbdkit_failed', `not checked: ${missing} is missing`);
}
