import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { formatTunnelUser, isNodeName, parseTunnelUser } from './names.js';

describe('names of the tunnel', () => {
  it('are those of nodes: lower case, digits and inner hyphens', () => {
    expect(['a', 'node-1', '0', 'a'.repeat(63)].map(isNodeName)).not.toContain(false);
    const not = [
      '',
      'Node',
      '-a',
      'a-',
      'a_b',
      'a.b',
      'a/b',
      '..',
      'a\n',
      'enrol',
      'a'.repeat(64),
      'knötchen',
    ];
    expect(not.map(isNodeName)).not.toContain(true);
  });

  it('name a node, or a node and a job', () => {
    expect(parseTunnelUser('node-1')).toEqual({ nodeName: 'node-1', jobId: undefined });
    expect(parseTunnelUser('node-1+backup-PG_1.x-20261121-084316')).toEqual({
      nodeName: 'node-1',
      jobId: 'backup-PG_1.x-20261121-084316',
    });
    const not = ['', '+job', 'node-1+', 'node-1+../x', 'node-1+a+b', 'node-1+a b', 'enrol', 'enrol+job'];
    expect(not.map(parseTunnelUser)).toEqual(not.map(() => undefined));
  });

  it('whatever a stranger sends, only what can be written again is read', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (user) => {
        const parsed = parseTunnelUser(user);
        if (parsed) expect(formatTunnelUser(parsed)).toBe(user);
      }),
    );
  });
});
