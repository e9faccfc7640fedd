import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Server, ServerCredentials, type ServerWritableStream } from '@grpc/grpc-js';
import {
  NodeServiceService,
  toStatus,
  type NodeServiceServer,
  type WatchJobRequest,
  type WatchJobResponse,
} from '@sendense/contracts';
import { SendenseError } from '@sendense/core';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { NodeConnections } from './node-client.js';

const vcenter = { endpoint: 'vc', username: 'u', password: 'p', thumbprint: '' };

/** A real gRPC server on a unix socket that answers a few calls. */
class Peer implements AsyncDisposable {
  readonly #folder = temporaryDirectory('node-client');
  readonly socket = join(this.#folder.path, 'n.sock');
  readonly watching: ServerWritableStream<WatchJobRequest, WatchJobResponse>[] = [];
  connected = true;
  #server: Server | undefined;

  async listen(): Promise<void> {
    this.#server = new Server();
    this.#server.addService(NodeServiceService, {
      getNode: (_call, callback) =>
        callback(null, {
          name: 'n1',
          version: '1',
          commit: 'c',
          startedAt: undefined,
          checks: [],
          runningJobs: 0,
        }),
      checkVCenter: (_call, callback) =>
        callback(
          toStatus(
            new SendenseError('vcenter_login_failed', 'wrong password', { context: { endpoint: 'vc' } }),
          ),
        ),
      watchJob: (call) => void this.watching.push(call),
    } as Partial<NodeServiceServer> as NodeServiceServer);
    await new Promise<void>((resolve, reject) =>
      this.#server!.bindAsync(`unix:${this.socket}`, ServerCredentials.createInsecure(), (error) =>
        error ? reject(error) : resolve(),
      ),
    );
  }

  stop(): void {
    this.#server?.forceShutdown();
  }

  connections(): NodeConnections {
    return new NodeConnections({ isConnected: () => this.connected, socketPath: () => this.socket });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    this.#folder[Symbol.dispose]();
  }
}

let peer: Peer;
afterEach(() => peer[Symbol.asyncDispose]());

describe('calls to a node', () => {
  it('answer, and fail with the very error that the node threw', async () => {
    peer = new Peer();
    await peer.listen();
    using connections = peer.connections();
    const node = connections.client('n1');
    expect(await node.getNode()).toMatchObject({ name: 'n1', version: '1' });
    await expect(node.checkVCenter(vcenter)).rejects.toMatchObject({
      code: 'vcenter_login_failed',
      message: 'wrong password',
      context: { endpoint: 'vc' },
    });
  });

  it('say at once that a node is not connected', async () => {
    peer = new Peer();
    peer.connected = false;
    using connections = peer.connections();
    await expect(connections.client('n1').getNode()).rejects.toMatchObject({
      code: 'node_offline',
      retryable: true,
      context: { node_name: 'n1' },
    });
  });

  it('work again after the node was away', async () => {
    peer = new Peer();
    await peer.listen();
    using connections = peer.connections();
    const node = connections.client('n1');
    await node.getNode();
    peer.stop();
    await expect(node.getNode()).rejects.toMatchObject({ retryable: true });
    await peer.listen();
    expect(await eventually('it answers', () => node.getNode())).toMatchObject({ name: 'n1' });
  });

  it('stream events, and let go of the stream when the reader stops or is cancelled', async () => {
    peer = new Peer();
    await peer.listen();
    using connections = peer.connections();
    const node = connections.client('n1');
    const read = (async () => {
      for await (const { sequence } of node.watchJob('job', 4n)) return sequence;
      return undefined;
    })();
    await eventually('the stream is open', () => peer.watching.length === 1);
    expect(peer.watching[0]!.request).toEqual({ jobId: 'job', afterSequence: 4n });
    peer.watching[0]!.write({ event: { sequence: 5n, at: undefined, event: undefined } });
    expect(await read).toBe(5n);
    await eventually('the node sees the end', () => peer.watching[0]!.cancelled);

    const stop = new AbortController();
    const cancelled = (async () => {
      for await (const _ of node.watchJob('job', 0n, stop.signal));
    })();
    await eventually('the second stream is open', () => peer.watching.length === 2);
    stop.abort(new SendenseError('shutting_down', 'the hub stops'));
    await expect(cancelled).rejects.toMatchObject({ code: 'shutting_down' });
    await eventually('the node sees it', () => peer.watching[1]!.cancelled);
  });

  it('end with node_lost when the connection breaks under a stream', async () => {
    peer = new Peer();
    await peer.listen();
    using connections = peer.connections();
    const read = (async () => {
      for await (const _ of connections.client('n1').watchJob('job', 0n));
    })();
    await eventually('the stream is open', () => peer.watching.length === 1);
    peer.stop();
    await expect(read).rejects.toMatchObject({ code: 'node_lost', retryable: true });
  });
});
