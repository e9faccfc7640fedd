import { describe, expect, it } from '@jest/globals';
import { ERROR_KINDS, SendenseError, type ErrorCode } from '@sendense/core';
import { httpStatus, problemOf } from './problem.js';

describe('problems', () => {
  it('carry everything of an error but its cause', () => {
    const cause = new Error('with a secret');
    const error = new SendenseError('node_offline', 'node n is offline', {
      ...{ cause, context: { node_name: 'n' }, retryable: true },
    });
    expect(problemOf(error, 'req-1')).toEqual({
      type: 'urn:sendense:problem:node_offline',
      title: 'node offline',
      status: 503,
      detail: 'node n is offline',
      code: 'node_offline',
      context: { node_name: 'n' },
      retryable: true,
    });
  });

  it('say 401 and 403 only of the token of the call', () => {
    const speakOfTheToken = (Object.keys(ERROR_KINDS) as ErrorCode[]).filter((code) =>
      [401, 403].includes(httpStatus(new SendenseError(code, ''))),
    );
    expect(speakOfTheToken.toSorted()).toEqual(['permission_denied', 'unauthenticated']);
  });

  it('hide what is not meant for clients', () => {
    for (const thrown of [new TypeError('x.y is undefined at /srv/secret'), 'text', undefined, { code: 5 }]) {
      const problem = problemOf(thrown, 'req-7');
      expect(problem).toMatchObject({ status: 500, code: 'internal', context: { request_id: 'req-7' } });
      expect(JSON.stringify(problem)).not.toContain('secret');
    }
    const full = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    expect(problemOf(full, 'req-8')).toMatchObject({ status: 507, code: 'out_of_space' });
  });
});
