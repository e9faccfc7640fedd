export { cleanUpOnSignals } from './signals.js';
export { freePort, freePortRange, Stage, type Programs } from './stage.js';
export {
  NODE_NAME,
  startHub,
  startLab,
  startNode,
  startPair,
  type Constellation,
  type LabFacts,
  type NodeOptions,
} from './constellation.js';
