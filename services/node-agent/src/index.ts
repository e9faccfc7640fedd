import { SendenseError } from '@sendense/core';
import type { Logger } from '@sendense/runtime';
import type { NodeConfig } from './config.js';

export type { NodeConfig } from './config.js';

export type TunnelState = 'connecting' | 'connected' | 'waiting';

/** A running node: its gRPC server, its jobs and its tunnel. Disposing it cancels the jobs and ends everything. */
export interface Node extends AsyncDisposable {
  readonly name: string;
  /** The gRPC unix socket. */
  readonly socketPath: string;
  readonly tunnelState: TunnelState;
}

/**
 * @throws `invalid_config` when the node is not enrolled · `data_directory_in_use` · `permission_denied` when the key's
 *   file can be read by others
 */
export function createNode(config: NodeConfig, log?: Logger): Promise<Node> {
  throw new SendenseError('internal', `not yet: ${config.dataDirectory} ${String(log)}`);
}

export interface EnrolOptions {
  readonly dataDirectory: string;
  /** The hub's tunnel address, as this node reaches it. */
  readonly hub: { readonly host: string; readonly port: number };
  readonly token: string;
  /** Replace an enrolment that is already there. @default false */
  readonly force?: boolean;
  readonly log?: Logger;
  readonly signal?: AbortSignal;
}

/** @throws `already_exists` · `invalid_argument` (token) · `host_key_mismatch` · `enrolment_refused` · `node_offline` … */
export async function enrolNode(options: EnrolOptions): Promise<{ nodeName: string }> {
  throw new SendenseError('internal', `not yet: ${options.dataDirectory}`);
}
