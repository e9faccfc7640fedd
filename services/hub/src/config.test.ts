import { inspect } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { longestNodeName, nodeSocketPath, readConfig } from './config.js';

describe('the configuration', () => {
  it('has a default for everything', () => {
    expect(readConfig({})).toMatchObject({
      apiListen: { host: '127.0.0.1', port: 8082 },
      tunnelListen: { host: '0.0.0.0', port: 443 },
      nbdPorts: { first: 10_100, last: 10_200 },
      dataDirectory: '/var/lib/sendense',
      limits: { total: 50, perNode: 16, perHost: 16, perDatastore: 16 },
      rateLimitBytesPerSecond: 0,
    });
  });

  it('refuses what it does not know, and lets the settings of the other programs pass', () => {
    expect(() => readConfig({ SENDENSE_API_LISTN: '127.0.0.1:1' })).toThrow(
      /SENDENSE_API_LISTN is not a setting \(did you mean SENDENSE_API_LISTEN\?\)/,
    );
    expect(readConfig({ SENDENSE_LANES: '4', SENDENSE_URL: 'http://x', SENDENSE_TOKEN: 'y' })).toBeDefined();
  });

  it('takes a database by URL, and shows its password to nobody', () => {
    const url = 'mysql://sendense:planted@db.test/catalogue';
    const config = readConfig({ SENDENSE_DATABASE_URL: url });
    expect(config.database).toMatchObject({ host: 'db.test', port: 3306, database: 'catalogue' });
    expect(inspect(config, { depth: null }) + JSON.stringify(config)).not.toContain('planted');
    expect(readConfig({}).database).toBeUndefined();
    expect(() => readConfig({ SENDENSE_DATABASE_URL: 'mysql://u:planted@h' })).toThrow(/names no database/);
    expect(() => readConfig({ SENDENSE_DATABASE_PASSWORD_FILE: '/x' })).toThrow(
      /without SENDENSE_DATABASE_URL/,
    );
  });

  it('refuses a runtime directory below which no socket fits', () => {
    const long = `/run/${'x'.repeat(100)}`;
    expect(() => readConfig({ SENDENSE_RUNTIME_DIR: long })).toThrow(
      /SENDENSE_RUNTIME_DIR is too long.*107 are possible/,
    );
    expect(Buffer.byteLength(nodeSocketPath('/run/s', 'n'.repeat(longestNodeName('/run/s'))))).toBe(107);
  });
});
