export { connectVSphere } from './session.js';
export { fetchThumbprints } from './transport/pinned-tls.js';
export type * from './types.js';
