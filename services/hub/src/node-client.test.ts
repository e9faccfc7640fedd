import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Metadata, Server, ServerCredentials, type ServerWritableStream } from '@grpc/grpc-js';
import {
  NodeServiceService,
  RunBackupRequest,
  toStatus,
  type NodeServiceServer,
  type WatchJobRequest,
  type WatchJobResponse,
} from '@sendense/contracts';
import { SendenseError } from '@sendense/core';
import { delay } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { NodeConnections, type NodeClient } from './node-client.js';
import type { NodeLimits } from './node-limits.js';

const vcenter = { endpoint: 'vc', username: 'u', password: 'p', thumbprint: '' };

/** A real gRPC server on a unix socket that answers a few calls. */
class Peer implements AsyncDisposable {
  readonly #folder = temporaryDirectory('node-client');
  readonly socket = join(this.#folder.path, 'n.sock');
  readonly watching: ServerWritableStream<WatchJobRequest, WatchJobResponse>[] = [];
  connected = true;
  /** Whether calls are taken and never answered. */
  silent = false;
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
      watchJob: (call) => {
        call.sendMetadata(new Metadata());
        this.watching.push(call);
      },
      readBlockHashes: (call) => void call.write({ chunk: Buffer.from('half of it') }),
      ...(this.silent ? this.#silence() : {}),
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

  /** A listener that takes connections and says nothing, instead. */
  async mute(): Promise<AsyncDisposable> {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => void sockets.add(socket)).listen(this.socket);
    await once(server, 'listening');
    return {
      async [Symbol.asyncDispose]() {
        for (const socket of sockets) socket.destroy();
        server.close();
        await once(server, 'close');
      },
    };
  }

  connections(limits: Partial<NodeLimits> = {}): NodeConnections {
    const reach = { isConnected: () => this.connected, socketPath: () => this.socket };
    return new NodeConnections(reach, limits);
  }

  #silence(): object {
    return Object.fromEntries(Object.keys(NodeServiceService).map((name) => [name, () => undefined]));
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

describe('a node that takes a call and never answers', () => {
  const limits: NodeLimits = {
    ready: 200,
    node: 201,
    vcenter: 202,
    stun: 203,
    sweep: 204,
    begin: 205,
    part: 206,
  };
  const vm = { moref: 'vm-1', instanceUuid: 'u', name: 'pgtest1' };
  const request = RunBackupRequest.fromPartial({ jobId: 'job' });
  const read = async (stream: AsyncIterable<unknown>) => {
    for await (const _ of stream);
  };
  /** Every call that there is, and the limit that it has. */
  const calls: Record<keyof NodeServiceServer & string, [number, (node: NodeClient) => Promise<unknown>]> = {
    getNode: [limits.node, (node) => node.getNode()],
    checkVCenter: [limits.vcenter, (node) => node.checkVCenter(vcenter)],
    listVirtualMachines: [limits.vcenter, (node) => node.listVirtualMachines(vcenter)],
    enableChangeTracking: [limits.stun, (node) => node.enableChangeTracking(vcenter, vm)],
    runBackup: [limits.begin, (node) => read(node.runBackup(request))],
    watchJob: [limits.begin, (node) => read(node.watchJob('job', 0n))],
    cancelJob: [limits.node, (node) => node.cancelJob('job', 'by hand')],
    readBlockHashes: [limits.begin, (node) => read(node.readBlockHashes('job', 2000))],
    forgetJob: [limits.node, (node) => node.forgetJob('job')],
    listJobs: [limits.node, (node) => node.listJobs()],
    sweepSnapshots: [limits.sweep, (node) => node.sweepSnapshots(vcenter)],
  };

  it('is waited for no longer than the limit of the call, which the error names', async () => {
    expect(Object.keys(calls).sort()).toEqual(Object.keys(NodeServiceService).sort());
    peer = new Peer();
    peer.silent = true;
    await peer.listen();
    using connections = peer.connections({ ...limits, ready: 10_000 });
    const node = connections.client('n1');
    for (const [name, [limit, call]] of Object.entries(calls)) {
      const what = `${name[0]!.toUpperCase()}${name.slice(1)} on node n1`;
      await expect(call(node)).rejects.toMatchObject({
        code: 'timeout',
        message: expect.stringContaining(`${what}: no answer within ${limit / 1000} s. Look at the log`),
        context: { node_name: 'n1' },
        retryable: true,
      });
    }
  });

  it('may be silent for as long as it likes once a job is watched, and not in the middle of a file', async () => {
    peer = new Peer();
    await peer.listen();
    using connections = peer.connections({ begin: 10_000, part: 100 });
    const node = connections.client('n1');
    const hashes = read(node.readBlockHashes('job', 2000));
    await expect(hashes).rejects.toMatchObject({
      code: 'timeout',
      message: expect.stringContaining('ReadBlockHashes on node n1: no answer within 0.1 s'),
    });
    using brief = peer.connections({ begin: 1_000 });
    const stop = new AbortController();
    const job = read(brief.client('n1').watchJob('job', 0n, stop.signal));
    await eventually('the stream is open', () => peer.watching.length === 1);
    await delay(1_200);
    expect(peer.watching[0]!.cancelled).toBe(false);
    stop.abort(new SendenseError('shutting_down', 'the hub stops'));
    await expect(job).rejects.toMatchObject({ code: 'shutting_down' });
  });

  it('does not even speak gRPC: it is offline, which the error says with the limit', async () => {
    peer = new Peer();
    await using _mute = await peer.mute();
    using connections = peer.connections({ ready: 200 });
    await expect(connections.client('n1').getNode()).rejects.toMatchObject({
      code: 'node_offline',
      message: expect.stringMatching(/node n1 is offline: .* within 0\.2 s\. Check /),
    });
  });
});
