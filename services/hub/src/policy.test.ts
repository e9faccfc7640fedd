import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { openCatalog, type Catalog } from '@sendense/catalog';
import { silentLogger as log } from '@sendense/runtime';
import { eventually, temporaryDirectory } from '@sendense/runtime/testing';
import { generateEd25519Key } from '@sendense/tunnel';
import { AuditTrail } from './audit-trail.js';
import { HubTunnelPolicy } from './policy.js';
import { FakeRuns } from './testing/fake-runs.js';

const remoteAddress = '192.0.2.7';
const { publicKey } = generateEd25519Key();

let folder: ReturnType<typeof temporaryDirectory>;
let catalog: Catalog;
let runs: FakeRuns;
let policy: HubTunnelPolicy;
const refreshed: string[] = [];

beforeEach(async () => {
  folder = temporaryDirectory('policy');
  catalog = await openCatalog({ directory: folder.path, log });
  runs = new FakeRuns();
  const nodes = { connected: (name: string) => void refreshed.push(name) };
  policy = new HubTunnelPolicy({ catalog, runs, nodes, audit: new AuditTrail(catalog, log), log });
  await catalog.nodes.create('site-1');
  const { secret } = await catalog.nodes.issueEnrolmentToken('site-1', { lifetimeMs: 60_000 });
  expect(await policy.enrol({ secret, publicKey, remoteAddress })).toEqual({
    allowed: true,
    nodeName: 'site-1',
  });
  runs.leased.push({ port: 10_100, jobId: 'job-1', nodeName: 'site-1' });
});
afterEach(async () => {
  await catalog[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const authenticate = (nodeName: string, jobId?: string, key = publicKey) =>
  policy.authenticate({ nodeName, jobId, publicKey: key, remoteAddress });

describe('the tunnel', () => {
  it('lets in enrolled nodes with their own key, and lanes of their own running jobs', async () => {
    expect(await authenticate('site-1')).toEqual({ allowed: true });
    expect(await authenticate('site-1', 'job-1')).toEqual({ allowed: true });
    await catalog.nodes.create('waiting');
    const refusals = await Promise.all([
      authenticate('nobody'),
      authenticate('waiting'),
      authenticate('site-1', undefined, generateEd25519Key().publicKey),
      authenticate('site-1', 'job-2'),
      authenticate('__proto__'),
    ]);
    expect(refusals.map((decision) => !decision.allowed && decision.reason)).toEqual([
      'there is no node nobody',
      'node waiting is not enrolled',
      'this is not the key of node site-1',
      'job job-2 does not run on node site-1',
      'there is no node __proto__',
    ]);
    await catalog.nodes.revoke('site-1');
    expect(await authenticate('site-1')).toEqual({ allowed: false, reason: 'node site-1 was revoked' });
  });

  it('opens only what the runs have leased', async () => {
    const open = (nodeName: string, port: number) =>
      policy.mayOpen({ nodeName, jobId: undefined, host: '127.0.0.1', port });
    expect(await open('site-1', 10_100)).toEqual({ allowed: true, jobId: 'job-1' });
    expect(await open('site-1', 10_101)).toMatchObject({ allowed: false });
    expect(await open('site-2', 10_100)).toMatchObject({ allowed: false });
  });

  it('writes down who came, who went, and what was refused', async () => {
    policy.nodeConnected({ nodeName: 'site-1', remoteAddress });
    policy.nodeDisconnected({ nodeName: 'site-1', reason: 'the peer went away' });
    policy.refused({ what: 'shell', nodeName: 'site-1', detail: 'a shell', remoteAddress });
    policy.refused({ what: 'authentication', detail: 'no such user', remoteAddress });
    const events = await eventually('all is written', async () => {
      const { items } = await catalog.audit.list();
      return items.length === 5 ? items.toSorted((a, b) => a.id - b.id) : undefined;
    });
    expect(events.map(({ action, actor, outcome }) => [action, actor, outcome])).toEqual([
      ['node.enrol', 'node:site-1', 'ok'],
      ['node.connected', 'node:site-1', 'ok'],
      ['node.disconnected', 'node:site-1', 'ok'],
      ['tunnel.refused', 'node:site-1', 'refused'],
      ['tunnel.refused', 'anonymous', 'refused'],
    ]);
    expect(events[3]).toMatchObject({ remoteAddress, detail: { what: 'shell', detail: 'a shell' } });
    expect(refreshed).toContain('site-1');
    expect(runs.connected).toEqual(['site-1']);
  });
});
