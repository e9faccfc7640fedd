import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import type { Command } from 'commander';
import { SendenseError } from '@sendense/core';
import { fetchThumbprints } from '@sendense/vsphere';
import type { VCenterCredentials } from '../backup-client/spec.js';
import { vcenter } from '../rpc/validation.js';

export interface VmwareOptions {
  readonly vmwareEndpoint: string;
  readonly vmwareUsername: string;
  readonly vmwarePasswordFile: string;
  readonly vmwareThumbprint?: string;
}

/** How to reach a vCenter, by hand. The password comes from a file, because everybody can read a command line. */
export function addVmwareOptions(command: Command): Command {
  return command
    .requiredOption('--vmware-endpoint <url>', 'vCenter or ESXi host: https://vcenter.example.com')
    .requiredOption('--vmware-username <name>', 'for example backup@vsphere.local')
    .requiredOption('--vmware-password-file <file>', 'holds the password; - is standard input')
    .option('--vmware-thumbprint <hex>', 'SHA-256 or SHA-1 of its certificate; without it, it is only shown');
}

/**
 * @throws `vcenter_thumbprint_unconfirmed` showing what the server presents, when no thumbprint was given: nothing else
 *   has been sent to it then
 */
export async function readCredentials(options: VmwareOptions): Promise<VCenterCredentials> {
  const { vmwareEndpoint: endpoint, vmwareUsername: username, vmwareThumbprint: thumbprint = '' } = options;
  const password = await readSecret(options.vmwarePasswordFile);
  const credentials = vcenter({ endpoint, username, password, thumbprint }, { thumbprint: false });
  if (thumbprint !== '') return credentials;
  const { sha256, sha1 } = await fetchThumbprints(endpoint);
  throw new SendenseError(
    'vcenter_thumbprint_unconfirmed',
    `${endpoint} presents the certificate\n  SHA-256 ${sha256}\n  SHA-1   ${sha1}\nCompare it with the server's own console, then add --vmware-thumbprint ${sha256}`,
    { context: { endpoint, thumbprint_sha256: sha256, thumbprint_sha1: sha1 } },
  );
}

/** A secret from a file or, for `-`, from standard input; one line break at its end is not part of it. */
export async function readSecret(path: string): Promise<string> {
  try {
    const content = path === '-' ? await readAll(process.stdin) : await readFile(path, 'utf8');
    return content.replace(/\r?\n$/, '');
  } catch (error) {
    throw new SendenseError('invalid_argument', `${path} cannot be read: ${(error as Error).message}`);
  }
}
