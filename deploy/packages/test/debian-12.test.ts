import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { requires } from '@sendense/runtime/testing';
import { Appliance, needs } from './appliance.js';

const SERVICES = ['sendense-hub', 'sendense-node'];

requires(describe, ...needs('bookworm'))('the packages on Debian 12', () => {
  let appliance: Appliance;

  beforeAll(async () => {
    appliance = await Appliance.start('bookworm');
  });
  afterAll(async () => {
    // Not there when it could not be started.
    await (appliance as Appliance | undefined)?.[Symbol.asyncDispose]();
  });

  it('back up a VM, with the VDDK plugin of Debian 13 by its path', async () => {
    const { machine } = appliance;
    await appliance.install('0.1.0');
    await machine.write(
      '/etc/sendense/node.env',
      'SENDENSE_VDDK_LIBDIR=/opt/lab/vddk\nSENDENSE_NBDKIT_VDDK_PLUGIN=/opt/vddk-plugin/nbdkit-vddk-plugin.so\n',
    );
    await appliance.login();
    await machine.run('systemctl', 'enable', '--now', 'sendense-hub');
    await appliance.startLab();
    const backup = await appliance.endOf(await appliance.startBackup(await appliance.setUp(), 'full'));
    expect(backup.state).toBe('completed');
    expect(await appliance.compare(backup)).toEqual(['Images are identical.', 'Images are identical.']);
    for (const unit of SERVICES) {
      const processes = await appliance.processesOf(unit);
      expect(processes.filter((process) => !process.startsWith(`${unit.replace('-hub', '')} `))).toEqual([]);
      expect(await appliance.exposure(unit)).toBeLessThanOrEqual(3.0);
    }
  });

  it('keep the data when they are removed', async () => {
    const { machine } = appliance;
    const held = await appliance.data();
    expect(held).toMatch(/catalog\.db/);
    expect(held).toMatch(/\.qcow2/);
    await machine.run('apt-get', 'remove', '-y', ...SERVICES);
    expect(await appliance.data()).toBe(held);
    for (const unit of SERVICES) expect(await appliance.property(unit, 'LoadState')).toBe('not-found');
  });
});
