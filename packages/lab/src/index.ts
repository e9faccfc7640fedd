export { startLab } from './lab.js';
export type * from './types.js';
