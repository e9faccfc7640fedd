import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { eventually, requires } from '@sendense/runtime/testing';
import { Appliance, needs } from './appliance.js';

const SERVICES = ['sendense-hub', 'sendense-node'];

requires(describe, ...needs('trixie'))('the packages on Debian 13', () => {
  let appliance: Appliance;
  let repositoryId: string;
  let point: string;

  beforeAll(async () => {
    appliance = await Appliance.start('trixie');
  });
  afterAll(async () => {
    // Not there when it could not be started.
    await (appliance as Appliance | undefined)?.[Symbol.asyncDispose]();
  });

  it('install with apt from what Debian has, and wait to be configured', async () => {
    const said = await appliance.install('0.1.0~test1');
    expect(said).toMatch(/sendense-hub is installed and does not run yet/);
    const { machine } = appliance;
    // Debian's own plugin is for Debian 13.
    await machine.run('apt-get', 'install', '-y', '--no-install-recommends', 'nbdkit-plugin-vddk');
    for (const unit of SERVICES) {
      expect(await appliance.property(unit, 'ActiveState')).toBe('inactive');
      expect((await machine.try('systemctl', 'is-enabled', unit)).stdout).toBe('disabled');
    }
    const modes = ['/var/lib/sendense', '/var/lib/sendense-node', '/etc/sendense/hub.env'];
    expect((await machine.run('stat', '-c', '%U:%G %a', ...modes)).split('\n')).toEqual([
      'sendense:sendense 700',
      'sendense-node:sendense-node 700',
      'root:sendense 640',
    ]);
  });

  it('say why a service does not start with a wrong setting, and do not try again', async () => {
    const { machine } = appliance;
    await machine.write('/etc/sendense/hub.env', 'SENDENSE_MAX_BACKUP=3\n');
    expect((await machine.try('systemctl', 'start', 'sendense-hub')).exitCode).toBe(1);
    expect(await appliance.property('sendense-hub', 'ActiveState')).toBe('failed');
    expect(await machine.run('journalctl', '-o', 'cat', '-u', 'sendense-hub')).toMatch(
      /SENDENSE_MAX_BACKUP is not a setting/,
    );
    await machine.write('/etc/sendense/hub.env', 'SENDENSE_MAX_BACKUPS=3\n');
    await machine.run('systemctl', 'reset-failed', 'sendense-hub');
  });

  it('have the hub on port 443 without root', async () => {
    const { machine } = appliance;
    // Before there is a service, by root, for the service.
    await appliance.login();
    await machine.run('systemctl', 'enable', '--now', 'sendense-hub');
    const uid = (await machine.run('id', '-u', 'sendense')).trim();
    const listening = (await machine.run('cat', '/proc/net/tcp'))
      .split('\n')
      .map((row) => row.trim().split(/\s+/));
    expect(listening.find(([, local]) => local === '00000000:01BB')?.[7]).toBe(uid);
  });

  it('back up a VM with two disks, and nothing of it runs as root', async () => {
    const { machine } = appliance;
    await machine.write('/etc/sendense/node.env', 'SENDENSE_VDDK_LIBDIR=/opt/lab/vddk\n');
    await appliance.startLab();
    repositoryId = await appliance.setUp();
    await appliance.limitRate(4 << 20);
    const id = await appliance.startBackup(repositoryId, 'full');
    const processes = await eventually('every process of a backup', async () => {
      const [hub, node] = await Promise.all(SERVICES.map((unit) => appliance.processesOf(unit)));
      const all = [...(hub ?? []), ...(node ?? [])];
      const seen = ['qemu-nbd', 'tunnel/dist/src/worker', 'nbdkit', 'backup-client'];
      return seen.every((name) => all.some((process) => process.includes(name))) ? all : undefined;
    });
    expect(processes.filter((process) => !/^sendense(-node)? /.test(process))).toEqual([]);
    await appliance.limitRate(0);
    const interrupted = await appliance.backup(id);
    expect(interrupted).toMatchObject({ state: 'failed', error: { code: 'shutting_down' } });
    point = await appliance.startBackup(repositoryId, 'full');
    const backup = await appliance.endOf(point);
    expect(backup.state).toBe('completed');
    expect(await appliance.compare(backup)).toEqual(['Images are identical.', 'Images are identical.']);
  });

  it('say of a place that the unit closes how to open it', async () => {
    const { machine } = appliance;
    await machine.run('install', '-d', '-o', 'sendense', '/home/backup', '/usr/local/backup');
    for (const path of ['/home/backup', '/usr/local/backup']) {
      await expect(appliance.sendense('repository', 'add', 'other', '--path', path)).rejects.toThrow(
        /systemctl edit sendense-hub/,
      );
    }
  });

  it('are there again after the machine was switched off and on', async () => {
    await appliance.machine.powerOff();
    await appliance.machine.powerOn();
    await appliance.hubAnswers();
    await appliance.nodeIsOnline();
    expect((await appliance.backup(point)).state).toBe('completed');
    const next = await appliance.endOf(await appliance.startBackup(repositoryId, 'incremental'));
    expect(next.state).toBe('completed');
  });

  it('start a hub again that was killed, and one that hangs', async () => {
    const { machine } = appliance;
    const main = async () => appliance.property('sendense-hub', 'MainPID');
    const signal = async (name: string) =>
      machine.run('systemctl', 'kill', '--kill-who=main', `--signal=${name}`, 'sendense-hub');
    const anew = async (before: string) => {
      const now = await main();
      return (
        now !== '0' && now !== before && (await appliance.property('sendense-hub', 'SubState')) === 'running'
      );
    };
    const killed = await main();
    await signal('KILL');
    await eventually('another process', () => anew(killed));
    await machine.write(
      '/etc/systemd/system/sendense-hub.service.d/test.conf',
      '[Service]\nWatchdogSec=6s\n',
    );
    await machine.run('systemctl', 'daemon-reload');
    await machine.run('systemctl', 'restart', 'sendense-hub');
    // It lives longer than the watchdog's period: it is heard.
    const hanging = await main();
    const first = await appliance.property('sendense-hub', 'WatchdogTimestampMonotonic');
    await eventually('it to be heard twice more', async () => {
      const last = Number(await appliance.property('sendense-hub', 'WatchdogTimestampMonotonic'));
      return last - Number(first) > 7_000_000;
    });
    expect(await main()).toBe(hanging);
    await signal('STOP');
    await eventually('another process', () => anew(hanging));
    expect(await machine.run('journalctl', '-o', 'cat', '-u', 'sendense-hub')).toMatch(/Watchdog timeout/);
    await machine.run('rm', '-r', '/etc/systemd/system/sendense-hub.service.d');
    await machine.run('systemctl', 'daemon-reload');
    await appliance.nodeIsOnline();
  });

  it('let a running backup end before an upgrade, take no other, and are there again', async () => {
    const { machine } = appliance;
    // What takes its time is done before the backup is started: it has to run when apt begins.
    await appliance.build('0.1.0~test2');
    await appliance.limitRate(2 << 20);
    const before = await Promise.all(SERVICES.map((unit) => appliance.property(unit, 'MainPID')));
    const running = await appliance.startBackup(repositoryId, 'full');
    await eventually('bytes to move', async () => (await appliance.backup(running)).state === 'running');
    await appliance.install('0.1.0~test2');
    expect(await appliance.versions()).toEqual(['0.1.0~test2', '0.1.0~test2']);
    await appliance.hubAnswers();
    await appliance.nodeIsOnline();
    const after = await Promise.all(SERVICES.map((unit) => appliance.property(unit, 'MainPID')));
    expect(after.filter((pid, index) => pid === '0' || pid === before[index])).toEqual([]);
    const backup = await appliance.backup(running);
    expect(backup.state).toBe('completed');
    expect(await appliance.compare(backup)).toEqual(['Images are identical.', 'Images are identical.']);
    expect(await machine.run('cat', '/etc/sendense/hub.env')).toMatch(/SENDENSE_RATE_LIMIT/);
  });

  it.each(SERVICES)('open little to %s', async (unit) => {
    const score = await appliance.exposure(unit);
    expect(score).toBeGreaterThan(0);
    expect(score).toBeLessThanOrEqual(3.0);
  });

  it('keep the data when they are removed, and when they are purged', async () => {
    const { machine } = appliance;
    const held = await appliance.data();
    expect(held).toMatch(/catalog\.db/);
    await machine.run('apt-get', 'remove', '-y', ...SERVICES);
    expect(await appliance.data()).toBe(held);
    expect(await machine.run('find', '/proc', '-maxdepth', '1', '-user', 'sendense')).toBe('');
    const said = await machine.run('apt-get', 'purge', '-y', ...SERVICES);
    expect(said).toMatch(/To delete it: rm -r \/var\/lib\/sendense && userdel sendense/);
    expect(await appliance.data()).toBe(held);
    expect((await machine.try('ls', '/etc/sendense', '/usr/lib/sendense-hub')).stdout).toBe('');
    // Installed anew, it goes on where it was.
    await appliance.install('0.1.0~test2');
    await machine.run('systemctl', 'enable', '--now', 'sendense-hub');
    await appliance.hubAnswers();
    expect((await appliance.backup(point)).state).toBe('completed');
  });
});
