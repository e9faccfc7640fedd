import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { LabVm } from '@sendense/lab';
import { eventually, requires, temporaryDirectory } from '@sendense/runtime/testing';
import { Constellation, CONSTELLATION_TOOLS } from './constellation.js';
import { examplesOf, matchesJson, matchesText, type Example } from './stage/documented-commands.js';

const MIB = 2 ** 20;
const page = readFileSync(new URL('../../../../docs/grpcurl.md', import.meta.url), 'utf8');
const proto = readFileSync(
  new URL('../../../../proto/sendense/node/v1/node_service.proto', import.meta.url),
  'utf8',
);
const examples = examplesOf(page);
const SERVICE = 'sendense.node.v1.NodeService';

describe('docs/grpcurl.md', () => {
  it('has an example of every call, of health and of reflection', () => {
    const calls = [...proto.matchAll(/^ {2}rpc (\w+)\(/gm)].map(([, call]) => `${SERVICE}/${String(call)}`);
    expect(calls.length).toBeGreaterThanOrEqual(11);
    const commands = examples.map(({ command }) => command);
    for (const what of [...calls, 'grpc.health.v1.Health/Check', ' list', ' describe '])
      expect(commands.filter((command) => command.includes(what)).join('\n')).toContain(what);
  });

  it('has no password in a command line, and an answer to every command', () => {
    for (const { command } of examples) {
      expect(command).toMatch(/^grpcurl -plaintext /);
      const [line = ''] = command.split('\n');
      if (command.includes('$VCENTER')) expect(line).toMatch(/ -d @ .* <<JSON$/);
    }
    expect(page.match(/^```sh$/gm)).toHaveLength(examples.length);
  });
});

requires(
  describe,
  ...CONSTELLATION_TOOLS,
  'grpcurl',
)('the commands of docs/grpcurl.md', () => {
  const folder = temporaryDirectory('grpcurl');
  let all: Constellation;
  let vm: LabVm;
  let variables: Record<string, string>;

  beforeAll(async () => {
    all = await Constellation.start();
    vm = await all.addVm(
      { name: 'pgtest1', disks: [{ sizeBytes: 16 * MIB }, { sizeBytes: 8 * MIB }] },
      4 * MIB,
    );
    const { endpoint, username, password, thumbprints } = all.lab;
    const credentials = join(folder.path, 'vcenter.json');
    writeFileSync(
      credentials,
      JSON.stringify({ endpoint, username, password, thumbprint: thumbprints.sha256 }),
      { mode: 0o600 },
    );
    variables = { VCENTER: credentials, MOREF: vm.moref, UUID: vm.instanceUuid };
  });

  afterAll(async () => {
    await all[Symbol.asyncDispose]();
    folder[Symbol.dispose]();
  });

  /** What has to be so for the answer that the page shows, before the first command with this in it. */
  const circumstances: Record<string, () => Promise<unknown>> = {
    SweepSnapshots: () =>
      all.lab.createSnapshot(vm.moref, {
        name: 'sendense-backup-pgtest1-20261120-220001',
        description: `Sendense backup, job backup-pgtest1-20261120-220001, node ${Constellation.nodeName}. Removed`,
      }),
    ListJobs: async () => {
      // One disk is copied, the other is not for a long time.
      all.lab.setFault({ operation: 'vddk.read', diskKey: 2000, delayMs: 60_000 });
      const { body } = await all.start('pgtest1');
      const job = String(body['backup_id']);
      variables['JOB'] = job;
      await eventually('the small disk is copied', async () => {
        const { disk_results } = await all.backup(job);
        const statuses = disk_results.map(({ status }) => status);
        return statuses[0] === 'copying' && statuses[1] === 'copied';
      });
    },
    ForgetJob: async () => {
      all.lab.clearFaults();
      await all.end(variables['JOB'] ?? '');
    },
  };

  it.each([
    ["the node's own socket", () => Promise.resolve(all.node.socketPath)],
    [
      "the hub's socket of the node",
      async () => String((await all.hub.get(`/api/v1/nodes/${Constellation.nodeName}`)).body['grpc_socket']),
    ],
  ])(
    'answer as the page shows, on %s',
    async (_where, socket) => {
      variables['SOCKET'] = await socket();
      for (const example of examples) {
        const [, happen] =
          Object.entries(circumstances).find(([what]) => example.command.includes(what)) ?? [];
        await happen?.();
        check(example, await run(example.command, variables));
      }
    },
    60_000,
  );
});

interface Ran {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(command: string, variables: Record<string, string>): Promise<Ran> {
  return new Promise((resolve) => {
    const env = { PATH: process.env['PATH'], ...variables };
    execFile('bash', ['-euo', 'pipefail', '-c', command], { env }, (error, stdout, stderr) =>
      resolve({ exitCode: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

function check({ command, kind, answer }: Example, { exitCode, stdout, stderr }: Ran): void {
  const shown = `${command}\nexit code ${exitCode}\n${stdout}${stderr}`;
  const refused = answer.startsWith('ERROR:');
  const left = command.includes('-max-time') && stderr.includes('Code: DeadlineExceeded');
  if (refused || left ? exitCode <= 64 : exitCode !== 0) throw new Error(`another exit code: ${shown}`);
  const problem =
    kind === 'json' ? matchesJson(stdout, answer) : matchesText(refused ? stderr : stdout, answer);
  if (problem !== undefined) throw new Error(`the page shows ${problem}: ${shown}`);
}
