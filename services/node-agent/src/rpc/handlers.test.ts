import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { credentials, Server, ServerCredentials } from '@grpc/grpc-js';
import {
  NodeServiceClient,
  NodeServiceService,
  type NodeServiceServer,
  type WatchJobRequest,
  type WatchJobResponse,
} from '@sendense/contracts';
import { silentLogger } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { serverStream } from './handlers.js';

it('a stream begins at once, also when there is nothing to tell for hours', async () => {
  using folder = temporaryDirectory('sdn');
  const address = `unix:${join(folder.path, 'node.sock')}`;
  const server = new Server();
  const watchJob = serverStream<WatchJobRequest, WatchJobResponse>(silentLogger, async function* (_, signal) {
    await once(signal, 'abort');
    yield { event: undefined };
  });
  server.addService(NodeServiceService, { watchJob } as Partial<NodeServiceServer> as NodeServiceServer);
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(address, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    ),
  );
  const client = new NodeServiceClient(address, credentials.createInsecure());
  const call = client.watchJob({ jobId: 'job', afterSequence: 0n }).on('error', () => undefined);
  let begun = false;
  call.once('metadata', () => (begun = true));
  try {
    await eventually('it has begun', () => begun);
    expect(call.readableLength).toBe(0);
  } finally {
    call.cancel();
    client.close();
    server.forceShutdown();
  }
});
