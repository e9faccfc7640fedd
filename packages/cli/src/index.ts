export { runProgram } from './program.js';
export type { CommandContext } from './command-context.js';
export { apiFor } from './command-context.js';
