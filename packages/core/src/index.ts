export * from './change-id.js';
export * from './errors.js';
export * from './extents.js';
export * from './merge-plan.js';
export * from './names.js';
export * from './plan.js';
export * from './retention.js';
export * from './states.js';
