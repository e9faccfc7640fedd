// The entry point of a tunnel worker: a child process of the hub that terminates SSH and carries the bytes, so that the
// hub's own event loop stays quick. It opens nothing by itself: it gets its sockets and all its answers over IPC.
import type { Socket } from 'node:net';
import type { ToWorker, WorkerConfig, WorkerCounters } from '../hub/messages.js';
import { PeerConnection } from './connection.js';
import { withSharedReading } from '../ssh/shared-reading.js';
import { HubLink } from './hub-link.js';

const ALIVE_INTERVAL_MS = 1000;

// The sockets made here are for the hub's own user: 0600.
process.umask(0o177);

const connections = new Map<number, PeerConnection>();
/** Of the connections that have ended. */
const ended = { fromPeerBytes: 0, toPeerBytes: 0 };
let config: WorkerConfig | undefined;

function begin(workerConfig: WorkerConfig): void {
  config = workerConfig;
  hub.tell({ type: 'ready' });
  setInterval(() => hub.tell({ type: 'alive', counters: sum() }), ALIVE_INTERVAL_MS);
}

function connection(id: number, remoteAddress: string, socket: Socket | undefined): void {
  if (!config || !socket || socket.destroyed) {
    hub.tell({ type: 'closed', connectionId: id, reason: 'the peer was gone at once' });
    return;
  }
  let peer: PeerConnection | undefined = undefined;
  const reading = withSharedReading(socket, {
    place: () => peer?.placeOfNextRead,
    keepsChunks: () => !peer?.copiesPackets,
  });
  peer = new PeerConnection({ id, socket: reading, remoteAddress, config, hub });
  connections.set(id, peer);
  void peer.closed.then(() => {
    connections.delete(id);
    ended.fromPeerBytes += peer.counters.fromPeerBytes;
    ended.toPeerBytes += peer.counters.toPeerBytes;
  });
}

function sum(): WorkerCounters {
  let [channels, { fromPeerBytes, toPeerBytes }] = [0, ended];
  for (const peer of connections.values()) {
    channels += peer.channels;
    fromPeerBytes += peer.counters.fromPeerBytes;
    toPeerBytes += peer.counters.toPeerBytes;
  }
  return { channels, fromPeerBytes, toPeerBytes };
}

async function drop(connectionId: number, reason: string): Promise<void> {
  const peer = connections.get(connectionId);
  peer?.close(reason);
  await peer?.closed;
}

async function revokeJob(jobId: string): Promise<void> {
  await Promise.all([...connections.values()].map(async (peer) => peer.revokeJob(jobId)));
}

function receive(message: Exclude<ToWorker, { type: 'answer' }>, socket: Socket | undefined): void {
  switch (message.type) {
    case 'start':
      begin(message.config);
      break;
    case 'connection':
      connection(message.id, message.remoteAddress, socket);
      break;
    case 'drop':
      void drop(message.connectionId, message.reason).then(() => hub.tell({ type: 'done', id: message.id }));
      break;
    case 'revoke_job':
      void revokeJob(message.jobId).then(() => hub.tell({ type: 'done', id: message.id }));
      break;
  }
}

const hub = new HubLink(receive);

/** Without its hub process there is nobody who could decide anything. */
process.once('disconnect', () => process.exit(0));
/** The terminal's Ctrl-C reaches the whole group: the hub decides in which order things end. */
process.on('SIGINT', () => undefined);
process.once('SIGTERM', () => {
  for (const peer of connections.values()) peer.close('the hub is shutting down');
  void Promise.all([...connections.values()].map(async (peer) => peer.closed)).then(() => process.exit(0));
});
