import { describe, expect, it } from '@jest/globals';
import { openedBy } from './closed-by-service.js';

describe('a repository that cannot be used', () => {
  const service = { INVOCATION_ID: 'c50eb5156c6f49268a3cf7418cb7183e' };

  it('is opened by a drop-in when the unit closes the place', () => {
    expect(openedBy('/home/backup', service)).toBe('ProtectHome=tmpfs and BindPaths=/home/backup');
    expect(openedBy('/usr/local/backup', service)).toBe('ReadWritePaths=/usr/local/backup');
    expect(openedBy('/var/tmp/backup', service)).toBe('BindPaths=/var/tmp/backup');
  });

  it('has another reason elsewhere, or when the hub is not a service', () => {
    expect(openedBy('/srv/backup', service)).toBeUndefined();
    expect(openedBy('/homes/backup', service)).toBeUndefined();
    expect(openedBy('/home/backup', {})).toBeUndefined();
  });
});
