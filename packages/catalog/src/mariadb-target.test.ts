import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { temporaryDirectory } from '@sendense/runtime/testing';
import { mariaDbTarget } from './mariadb-target.js';

describe('the URL of a database', () => {
  it('names server, user, database and how to get there', () => {
    const target = mariaDbTarget('mysql://us%40er:p%2Fw@db.test:3307/send%20ense');
    expect(target).toMatchObject({
      host: 'db.test',
      port: 3307,
      user: 'us@er',
      database: 'send ense',
      tls: undefined,
    });
    expect(target.password()).toBe('p/w');
    expect(target.label).toBe('mysql://db.test:3307/send ense');
    expect(mariaDbTarget('mariadb://u@[::1]/d')).toMatchObject({ host: '::1', port: 3306 });
    expect(mariaDbTarget('mysql://u@localhost/d?socket=/run/s')).toMatchObject({ socket: '/run/s' });
    expect(mariaDbTarget('mysql://u@h/d?ssl=on').tls).toEqual({ verify: true, ca: undefined });
    expect(mariaDbTarget('mysql://u@h/d?ssl-verify=off').tls).toEqual({ verify: false, ca: undefined });
  });

  it('is refused when it cannot be meant, without showing it', () => {
    using folder = temporaryDirectory();
    const file = join(folder.path, 'password');
    writeFileSync(file, 'from-file\n');
    expect(mariaDbTarget('mysql://u@h/d', file).password()).toBe('from-file');
    for (const [url, passwordFile] of [
      ['not a url with planted'],
      ['postgres://u:planted@h/d'],
      ['mysql://u:planted@h'],
      ['mysql://u:planted@h/a/b'],
      ['mysql://:planted@h/d'],
      ['mysql://u:planted%zz@h/d'],
      ['mysql://u:planted@h/d?sslmode=x'],
      ['mysql://u:planted@h/d?socket=relative'],
      ['mysql://u:planted@h/d?ssl=maybe'],
      ['mysql://u:planted@h/d?ssl=off&ssl-verify=off'],
      ['mysql://u:planted@h/d?ssl-ca=/nonexistent'],
      ['mysql://u:planted@h/d', file],
      ['mysql://u@h/d', '/nonexistent'],
    ] as const)
      expect(() => mariaDbTarget(url, passwordFile)).toThrow(
        expect.objectContaining({ code: 'invalid_config', message: expect.not.stringContaining('planted') }),
      );
  });
});
