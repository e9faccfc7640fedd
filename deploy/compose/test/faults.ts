import { afterEach, expect, it } from '@jest/globals';
import { eventually } from '@sendense/runtime/testing';
import { docker } from './docker.js';
import type { Environment, Service } from './environment.js';
import { NOTHING_LEFT, type Backup, type ProtectedVm } from './protected-vm.js';
import type { Walked } from './walk.js';

/** A part of the environment is taken away in the middle of a backup. */
export function faultTests(environment: () => Environment, walked: Walked): void {
  const vm = (): ProtectedVm => {
    if (!walked.vm) throw new Error('the walk did not come to a VM');
    return walked.vm;
  };
  const container = (service: Service) => environment().container(service);

  /** Whatever happened: nothing is left, and the next backup is one. */
  afterEach(async () => {
    const subject = vm();
    await environment().lab('fault', 'clear');
    for (const service of ['mariadb', 'hub', 'node', 'lab'] as const) await environment().healthy(service);
    await environment().nodeOnline();
    await eventually(
      'nothing is left',
      async () => {
        expect(await subject.leftovers()).toEqual(NOTHING_LEFT);
        return true;
      },
      120_000,
    );
    await subject.write(2001, 0, 65_536, `after ${Date.now()}`);
    const next = await subject.backUp('incremental');
    expect(next).toMatchObject({ state: 'completed', error: null });
    expect(await subject.compare(next)).toEqual({ 2000: true, 2001: true });
  }, 300_000);

  it('fails a backup whose node is cut off, and goes on when it is back', async () => {
    const id = await vm().flowing();
    await docker('network', 'disconnect', environment().network('wan'), container('node'));
    const ended = await vm().ended(id);
    await docker('network', 'connect', environment().network('wan'), container('node'));
    expect(failure(ended)).toMatch(/tunnel_lost|node_offline|node_lost|timeout/);
  }, 300_000);

  it('fails a backup whose hub is restarted in the middle, and says that it was that', async () => {
    const id = await vm().flowing();
    await docker('restart', '--time', '90', container('hub'));
    expect(failure(await vm().ended(id))).toMatch(/hub|restart|stopp/);
  }, 300_000);

  it('fails a backup whose hub is killed in the middle', async () => {
    const id = await vm().flowing();
    await docker('kill', container('hub'));
    await docker('start', container('hub'));
    expect(failure(await vm().ended(id))).toMatch(/hub|restart|stopp/);
  }, 300_000);

  it('completes a backup whose database is restarted in the middle, or fails it with the reason', async () => {
    const id = await vm().flowing();
    await docker('restart', container('mariadb'));
    await environment().healthy('mariadb');
    await environment().lab('fault', 'clear');
    const ended = await vm().ended(id);
    if (ended.state !== 'completed') expect(failure(ended)).toMatch(/^catalog_/);
  }, 300_000);

  it('completes a backup whose vCenter is silent for a while', async () => {
    const id = await vm().flowing();
    await docker('pause', container('lab'));
    try {
      await eventually(
        'everything is copied',
        async () => (await vm().show(id)).disk_results.every(({ status }) => status === 'copied'),
        120_000,
      );
    } finally {
      await docker('unpause', container('lab'));
    }
    expect(await vm().ended(id)).toMatchObject({ state: 'completed', error: null });
  }, 300_000);
}

/** Code and message of a backup that failed. */
function failure({ state, error }: Backup): string {
  expect(state).toBe('failed');
  expect(error?.code).not.toBe('internal');
  return `${error?.code}: ${error?.message}`;
}
