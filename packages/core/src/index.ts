export * from './errors.js';
export * from './extents.js';
export * from './names.js';
export * from './plan.js';
