import { toSendenseError } from '@sendense/core';
import { runDemoInContainers } from './containers.js';

try {
  if (process.argv.includes('--version'))
    console.log('sendense-demo: the demonstration of docker-compose.yml');
  else process.exitCode = (await runDemoInContainers(process.env)) ? 0 : 1;
} catch (error) {
  console.error(`demo: ${toSendenseError(error).message}`);
  process.exitCode = 1;
}
