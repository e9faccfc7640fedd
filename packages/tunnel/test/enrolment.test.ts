import { describe, expect, it } from '@jest/globals';
import { silentLogger } from '@sendense/runtime';
import { eventually } from '@sendense/runtime/testing';
import {
  checkHub,
  enrol,
  generateEd25519Key,
  makeEnrolmentToken,
  type EnrolmentRequest,
} from '../src/index.js';
import { localServer, NODE, startHarness, type Harness } from './harness.js';

const SECRET = 'correct-horse-battery-staple';

async function hubWithToken(): Promise<Harness & { requests: EnrolmentRequest[] }> {
  const requests: EnrolmentRequest[] = [];
  const hub = await startHarness({
    policy: {
      enrol: async (request) => {
        requests.push(request);
        return request.secret === SECRET
          ? { allowed: true, nodeName: NODE }
          : { allowed: false, reason: 'the token was used already: ask for a new one' };
      },
    },
  });
  return Object.assign(hub, { requests });
}

describe('enrolment', () => {
  it('hands the proven key and the secret to the hub', async () => {
    await using hub = await hubWithToken();
    const { hostKeyFingerprint } = hub.hub;
    const key = generateEd25519Key();
    const token = makeEnrolmentToken({ nodeName: NODE, secret: SECRET, hostKeyFingerprint });
    const enrolled = await enrol({
      hub: hub.hub,
      token,
      privateKeyPem: key.privateKeyPem,
      log: silentLogger,
    });
    expect(enrolled).toEqual({ nodeName: NODE, hostKeyFingerprint });
    expect(hub.requests).toEqual([{ secret: SECRET, publicKey: key.publicKey, remoteAddress: '127.0.0.1' }]);
    await eventually('it does not stay', () => hub.server.statistics().connections === 0);
  });

  it('gives the hub’s reason when it is refused, and reports it without the secret', async () => {
    await using hub = await hubWithToken();
    const { hostKeyFingerprint } = hub.hub;
    const { privateKeyPem } = generateEd25519Key();
    const token = makeEnrolmentToken({ nodeName: NODE, secret: 'stale-secret', hostKeyFingerprint });
    await expect(enrol({ hub: hub.hub, token, privateKeyPem, log: silentLogger })).rejects.toMatchObject({
      code: 'enrolment_refused',
      message: expect.stringContaining('the token was used already: ask for a new one'),
    });
    await eventually('it is reported', () => hub.refusals.length === 1);
    expect(hub.refusals[0]?.what).toBe('enrolment');
    expect(JSON.stringify(hub.refusals)).not.toContain('stale-secret');
  });

  it('shows the secret to no other hub than the token’s', async () => {
    await using hub = await hubWithToken();
    const { privateKeyPem } = generateEd25519Key();
    const hostKeyFingerprint = `SHA256:${'A'.repeat(43)}`;
    const token = makeEnrolmentToken({ nodeName: NODE, secret: SECRET, hostKeyFingerprint });
    const enrolling = enrol({ hub: hub.hub, token, privateKeyPem, log: silentLogger });
    await expect(enrolling).rejects.toMatchObject({ code: 'host_key_mismatch' });
    expect(hub.requests).toEqual([]);
  });
});

describe('checking the hub before anything depends on it', () => {
  const check = async (hub: Harness, change: { host?: string; port?: number; key?: string; pin?: string }) =>
    checkHub({
      hub: {
        host: change.host ?? '127.0.0.1',
        port: change.port ?? hub.hub.port,
        hostKeyFingerprint: change.pin ?? hub.hub.hostKeyFingerprint,
      },
      nodeName: NODE,
      privateKeyPem: change.key ?? hub.key.privateKeyPem,
      timeoutMs: 10_000,
    });

  it('passes every step when all is well', async () => {
    await using hub = await startHarness();
    const checks = await check(hub, {});
    expect(checks.map(({ name, ok }) => `${name} ${ok}`)).toEqual([
      'hub_address true',
      'hub_port true',
      'hub_host_key true',
      'hub_accepts_key true',
    ]);
  });

  it('stops at the first step that fails, and says what to do', async () => {
    await using hub = await startHarness();
    await using web = await localServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await using gone = await localServer(() => undefined);
    await gone[Symbol.asyncDispose]();
    const last = async (change: Parameters<typeof check>[1]) => (await check(hub, change)).at(-1);
    expect(await last({ host: 'no-such-hub.invalid' })).toMatchObject({ name: 'hub_address', ok: false });
    expect(await last({ port: gone.port })).toMatchObject({
      name: 'hub_port',
      ok: false,
      detail: expect.stringMatching(/connection refused: nothing listens there/),
    });
    expect(await last({ port: web.port })).toMatchObject({ name: 'hub_host_key', ok: false });
    expect(await last({ pin: `SHA256:${'A'.repeat(43)}` })).toMatchObject({
      name: 'hub_host_key',
      ok: false,
      detail: expect.stringContaining(hub.hub.hostKeyFingerprint),
    });
    expect(await last({ key: generateEd25519Key().privateKeyPem })).toMatchObject({
      name: 'hub_accepts_key',
      ok: false,
      detail: expect.stringContaining('enrol it with a new token'),
    });
  });
});
