export * from './build-info.js';
export * from './child-process.js';
export * from './directory-lock.js';
export * from './files.js';
export * from './log.js';
export * from './ownership.js';
export * from './process-identity.js';
export * from './settings.js';
