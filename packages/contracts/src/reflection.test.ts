import { describe, expect, it } from '@jest/globals';
import { fileDescriptors } from './reflection.js';

describe('the descriptors for reflection', () => {
  it('hold our contracts and all that they refer to', () => {
    const named = (name: string) => fileDescriptors().filter((file) => file.includes(name));
    for (const name of [
      'sendense/node/v1/node_service.proto',
      'sendense/common/v1/error.proto',
      'google/protobuf/timestamp.proto',
      'grpc/health/v1/health.proto',
    ])
      expect(named(name).length).toBeGreaterThan(0);
    expect(fileDescriptors()).toHaveLength(4);
  });
});
