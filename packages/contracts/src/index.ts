export { ErrorDetail } from './gen/sendense/common/v1/error.js';
export * from './gen/sendense/node/v1/node_service.js';
export { fileDescriptors } from './reflection.js';
export * from './error-detail.js';
export * from './status.js';
