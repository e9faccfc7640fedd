// A process of its own for what has to be killed or frozen: `hub` is a tunnel server with the harness's policy, `node` a
// control connection. It says one line of JSON on stdout and lives until it is killed.
import { silentLogger } from '@sendense/runtime';
import { startTunnelClient, type HubAddress } from '../src/index.js';
import { NODE, startHarness } from './harness.js';

interface NodeArguments {
  readonly hub: HubAddress;
  readonly privateKeyPem: string;
  readonly apiSocketPath: string;
}

const [role, argument] = process.argv.slice(2);
if (role === 'hub') {
  const hub = await startHarness({ workers: 2 });
  const { workerPids } = hub.server.statistics();
  console.log(JSON.stringify({ ...hub.hub, privateKeyPem: hub.key.privateKeyPem, workerPids }));
} else {
  const node = JSON.parse(argument ?? '') as NodeArguments;
  startTunnelClient({
    ...node,
    nodeName: NODE,
    log: silentLogger,
    timing: { keepAliveIntervalMs: 100, backoffMinMs: 20, backoffMaxMs: 100 },
  });
  console.log('{}');
}
