import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { credentials } from '@grpc/grpc-js';
import { fromServiceError, NodeServiceClient } from '@sendense/contracts';
import { buildInfo, silentLogger } from '@sendense/runtime';
import { requires } from '@sendense/runtime/testing';
import { createNode, type Node } from '../src/index.js';
import { enrolledNode, type NodeFolders } from './enrolled-node.js';

const run = promisify(execFile);
const describeWithGrpcurl = requires(describe, 'grpcurl');

let folders: NodeFolders;
let node: Node;
beforeAll(async () => {
  folders = enrolledNode();
  node = await createNode(folders.config, silentLogger);
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  folders[Symbol.dispose]();
});

/** grpcurl knows nothing but the socket. As a URL: its option -unix is broken in 1.9.2 and 1.9.3 (grpcurl issue 496). */
async function grpcurl(...args: string[]): Promise<string> {
  const [options, rest] = args[0] === '-d' ? [args.slice(0, 2), args.slice(2)] : [[], args];
  return run('grpcurl', ['-plaintext', ...options, `unix://${node.socketPath}`, ...rest]).then(
    ({ stdout }) => stdout,
    (error: { stderr: string }) => error.stderr,
  );
}

describeWithGrpcurl('grpcurl on the socket of a node', () => {
  it('lists the services', async () => {
    const services = (await grpcurl('list')).trim().split('\n');
    expect(services).toEqual(
      expect.arrayContaining(['grpc.health.v1.Health', 'sendense.node.v1.NodeService']),
    );
  });

  it('describes calls and messages', async () => {
    expect(await grpcurl('describe', 'sendense.node.v1.NodeService')).toContain('rpc RunBackup');
    expect(await grpcurl('describe', 'sendense.node.v1.JobEvent')).toContain('disk_finished');
    expect(await grpcurl('describe', 'sendense.common.v1.ErrorDetail')).toContain(
      'map<string, string> context',
    );
  });

  it('asks who the node is', async () => {
    const answer = JSON.parse(await grpcurl('sendense.node.v1.NodeService/GetNode')) as Record<
      string,
      unknown
    >;
    expect(answer).toMatchObject({ name: 'sna1', version: buildInfo.version });
    expect((answer['checks'] as { name: string }[]).map(({ name }) => name)).toEqual(
      expect.arrayContaining(['nbdkit', 'backup_client', 'hash_space']),
    );
  });

  it('asks for its health', async () => {
    expect(await grpcurl('grpc.health.v1.Health/Check')).toContain('SERVING');
  });

  it('is told which field is wrong', async () => {
    const answer = await grpcurl('-d', '{"job_id":"../x"}', 'sendense.node.v1.NodeService/CancelJob');
    expect(answer).toMatch(/InvalidArgument[\s\S]*job_id/);
  });
});

describe('the gRPC server of a node', () => {
  it('answers on a socket that only its user can open', () => {
    expect(statSync(node.socketPath).mode & 0o777).toBe(0o600);
  });

  it('carries code and context of an error to the caller', async () => {
    const client = new NodeServiceClient(`unix:${node.socketPath}`, credentials.createInsecure());
    try {
      const error = await new Promise((resolve) => {
        client.cancelJob({ jobId: 'gone', reason: '' }, (failure) => {
          resolve(failure && fromServiceError(failure, 'cancel'));
        });
      });
      expect(error).toMatchObject({ code: 'job_not_found', context: { job_id: 'gone' } });
    } finally {
      client.close();
    }
  });

  it('does not let a second node onto its data', async () => {
    const second = { ...folders.config, runtimeDirectory: join(folders.config.runtimeDirectory, 'second') };
    await expect(createNode(second, silentLogger)).rejects.toMatchObject({
      code: 'data_directory_in_use',
      message: expect.stringContaining(String(process.pid)),
    });
  });

  it('does not take the socket from somebody who answers on it', async () => {
    using other = enrolledNode({ runtimeDirectory: folders.config.runtimeDirectory });
    await expect(createNode(other.config, silentLogger)).rejects.toMatchObject({ code: 'conflict' });
  });

  it('replaces the socket and removes the folders that a killed node left', async () => {
    using other = enrolledNode();
    const { runtimeDirectory, dataDirectory } = other.config;
    for (const left of [join(runtimeDirectory, 'job-x'), join(dataDirectory, 'jobs', 'old')])
      mkdirSync(left, { recursive: true });
    await leaveStaleSocket(join(runtimeDirectory, 'node.sock'));
    await using started = await createNode(other.config, silentLogger);
    expect(statSync(started.socketPath).isSocket()).toBe(true);
    expect(existsSync(join(runtimeDirectory, 'job-x'))).toBe(false);
    expect(existsSync(join(dataDirectory, 'jobs'))).toBe(false);
  });

  it('refuses a runtime directory whose sockets the kernel could not take', async () => {
    using other = enrolledNode({ runtimeDirectory: `/tmp/${'x'.repeat(100)}` });
    await expect(createNode(other.config, silentLogger)).rejects.toMatchObject({ code: 'invalid_config' });
  });

  it('does not touch a file that is no socket', async () => {
    using other = enrolledNode();
    mkdirSync(other.config.runtimeDirectory);
    writeFileSync(join(other.config.runtimeDirectory, 'node.sock'), 'mine');
    await expect(createNode(other.config, silentLogger)).rejects.toMatchObject({ code: 'conflict' });
  });
});

/** A socket file without a listener: its process was killed. */
async function leaveStaleSocket(path: string): Promise<void> {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await run(process.execPath, ['-e', script]).catch(() => undefined);
}
