import { describe, expect, it } from '@jest/globals';
import type { ServiceError } from '@grpc/grpc-js';
import { SendenseError } from '@sendense/core';
import { fromServiceError, toStatus } from './status.js';

describe('errors across gRPC', () => {
  it('arrive as they were thrown', () => {
    const thrown = new SendenseError('vm_not_found', 'no VM vm-7: check the name', {
      context: { moref: 'vm-7' },
      retryable: true,
    });
    const sent = toStatus(thrown);
    const failure: ServiceError = Object.assign(new Error(sent.details), sent);
    const received = fromServiceError(failure, 'listing VMs');
    expect(received).toMatchObject({
      code: 'vm_not_found',
      message: thrown.message,
      context: { moref: 'vm-7' },
      retryable: true,
    });
  });

  it('a transport failure is a lost node', () => {
    const lost = Object.assign(new Error('x'), { code: 14, details: 'socket closed' }) as ServiceError;
    expect(fromServiceError(lost, 'backup')).toMatchObject({ code: 'node_lost', retryable: true });
  });
});
