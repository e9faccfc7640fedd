import { chmod } from 'node:fs/promises';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { HealthImplementation } from 'grpc-health-check';
import { fileDescriptors, NodeServiceService } from '@sendense/contracts';
import type { Logger } from '@sendense/runtime';
import { nodeService, type RpcContext } from './rpc/index.js';

/** How long calls that are under way may take to end when the node stops. */
const SHUTDOWN_MS = 3000;

/**
 * The node's gRPC server on a unix socket that only its user can open, with health and reflection, so that grpcurl needs
 * nothing but the socket.
 */
export async function startServer(context: RpcContext, socketPath: string): Promise<AsyncDisposable> {
  const server = new Server({ 'grpc.max_send_message_length': -1 });
  server.addService(NodeServiceService, nodeService(context));
  new HealthImplementation({ '': 'SERVING', 'sendense.node.v1.NodeService': 'SERVING' }).addToServer(server);
  // Of a package definition, reflection reads the encoded files and nothing else.
  const contracts = {
    contracts: { fileDescriptorProtos: fileDescriptors() },
  } as unknown as PackageDefinition;
  new ReflectionService(contracts).addToServer(server);
  await bind(server, socketPath);
  await chmod(socketPath, 0o600);
  context.log.info({ socketPath }, 'gRPC server listens');
  let ended: Promise<void> | undefined;
  return { [Symbol.asyncDispose]: () => (ended ??= shutDown(server, context.log)) };
}

async function bind(server: Server, socketPath: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socketPath}`, ServerCredentials.createInsecure(), (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

/** The last events of jobs are still on their way to the hub: those calls may end, for a moment. */
async function shutDown(server: Server, log: Logger): Promise<void> {
  await new Promise<void>((resolve) => {
    const late = setTimeout(() => {
      log.debug('gRPC calls are still open: closing them');
      server.forceShutdown();
    }, SHUTDOWN_MS);
    server.tryShutdown(() => {
      clearTimeout(late);
      resolve();
    });
  });
}
