import { describe, expect, it } from '@jest/globals';
import { silentLogger as log } from '@sendense/runtime';
import { checkNbdkitOptions, nbdkitArguments } from './nbdkit-arguments.js';
import type { NbdkitVddkOptions } from './nbdkit-vddk.js';

const options: NbdkitVddkOptions = {
  server: 'vc.example',
  username: 'administrator@vsphere.local',
  password: 'planted-secret',
  thumbprintSha1: 'AB'.repeat(20),
  vmMoref: 'vm-57',
  snapshotMoref: 'snapshot-58',
  diskFile: "[data store 1] pg 'test'/pg,test_1.vmdk",
  socketPath: '/run/x/2000.sock',
  owner: 'test',
  log,
  probe: async () => ({ sizeBytes: 0, readOnly: true }),
};
const paths = { passwordPath: '/proc/1/fd/9', pidPath: '/run/x/pid' };
const argumentsOf = (change: Partial<NbdkitVddkOptions>) => nbdkitArguments({ ...options, ...change }, paths);

describe('nbdkit arguments', () => {
  it('hold everything but the password', () => {
    const args = argumentsOf({ transports: 'nbdssl:nbd', libdir: '/opt/vddk', plugin: '/x/plugin.so' });
    expect(args.join(' ')).not.toContain('planted-secret');
    expect(args).toEqual(
      expect.arrayContaining([
        '--readonly',
        '--exit-with-parent',
        '/x/plugin.so',
        "file=[data store 1] pg 'test'/pg,test_1.vmdk",
        'server=vc.example',
        'vm=moref=vm-57',
        'snapshot=snapshot-58',
        'password=+/proc/1/fd/9',
        `thumbprint=${Array.from({ length: 20 }, () => 'AB').join(':')}`,
        'transports=nbdssl:nbd',
        'libdir=/opt/vddk',
      ]),
    );
  });

  it.each([
    ['vc:8443', 'server=vc', 'port=8443'],
    ['10.0.0.1', 'server=10.0.0.1', undefined],
    ['[fd00::1]:444', 'server=fd00::1', 'port=444'],
    ['[fd00::1]', 'server=fd00::1', undefined],
    ['fd00::1', 'server=fd00::1', undefined],
  ])('split the endpoint %s', (server, host, port) => {
    const args = argumentsOf({ server });
    expect(args).toContain(host);
    expect(args.find((argument) => argument.startsWith('port='))).toBe(port);
  });

  it.each([
    [{ vmMoref: 'vm-1 snapshot=x' }],
    [{ snapshotMoref: '' }],
    [{ transports: 'nbd file=/etc/shadow' }],
    [{ thumbprintSha1: 'AB'.repeat(32) }],
    [{ password: 'two\nlines' }],
    [{ socketPath: `/run/${'x'.repeat(110)}` }],
    [{ diskFile: 'a\0b' }],
  ])('refuse %j', (change) => {
    expect(() => checkNbdkitOptions({ ...options, ...change })).toThrow(
      expect.objectContaining({ code: 'invalid_argument' }),
    );
  });
});
