// Test support: secrets that can be recognised, and where they are looked for.
export { filesBelow, PlantedSecrets } from './planted-secrets.js';
export { ProcessListWatch } from './process-list-watch.js';
