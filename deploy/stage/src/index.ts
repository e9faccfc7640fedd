export { freePort, freePortRange, Stage } from './stage.js';
export { NODE_NAME, startLab, startPair, type Constellation, type LabFacts } from './constellation.js';
