export type { NodeConfig } from './config.js';
export { enrolNode, type EnrolNodeOptions } from './enrolment/enrol.js';
export { createNode, type Node } from './node.js';
