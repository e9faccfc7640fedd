export { ErrorDetail } from './gen/sendense/common/v1/error.js';
export * from './gen/sendense/node/v1/node_service.js';
export * from './status.js';

/** All contracts as a FileDescriptorSet, for reflection. */
export const descriptorSetUrl = new URL('../../src/gen/descriptors.binpb', import.meta.url);
