import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { generateEd25519Key } from '@sendense/tunnel';
import { enrolmentPath, keyPath } from '../src/enrolment/enrolment.js';
import type { NodeConfig } from '../src/index.js';

export interface NodeFolders extends Disposable {
  readonly config: NodeConfig;
}

/** The folders of a node that was enrolled with a hub that is not there. */
export function enrolledNode(change: Partial<NodeConfig> = {}): NodeFolders {
  const folder = temporaryDirectory('node');
  const dataDirectory = join(folder.path, 'data');
  mkdirSync(dataDirectory, { mode: 0o700 });
  writeFileSync(keyPath(dataDirectory), generateEd25519Key().privateKeyPem, { mode: 0o600 });
  const hub = { host: '127.0.0.1', port: 1, hostKeyFingerprint: 'SHA256:nobody' };
  writeFileSync(
    enrolmentPath(dataDirectory),
    JSON.stringify({ nodeName: 'sna1', hub, enrolledAt: new Date().toISOString() }),
  );
  return {
    config: {
      dataDirectory,
      runtimeDirectory: join(folder.path, 'run'),
      logLevel: 'silent',
      nbdkit: 'nbdkit',
      nbdkitVddkPlugin: process.env['SENDENSE_NBDKIT_VDDK_PLUGIN'] ?? 'vddk',
      lanes: 2,
      parallelDisks: 4,
      ...change,
    },
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}
