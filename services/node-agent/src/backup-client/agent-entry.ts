// What sendense-node starts for each job: `agent-entry.js FOLDER`. It has no command line, whose modules would only cost
// time here, and keeps the compiled form of the others in FOLDER: half of the start-up is compiling.
import { enableCompileCache } from 'node:module';

enableCompileCache(process.argv[2]);
const { runForAgent } = await import('./for-agent.js');
await runForAgent();
