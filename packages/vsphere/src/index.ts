export { connectVSphere } from './session.js';
export { fetchThumbprints } from './thumbprints.js';
export type * from './types.js';
