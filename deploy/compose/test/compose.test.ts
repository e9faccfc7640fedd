import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe } from '@jest/globals';
import { PlantedSecrets, ProcessListWatch } from '@sendense/runtime/testing/secrets';
import { withEngine } from './engine.js';
import { Environment, ROOT } from './environment.js';
import { faultTests } from './faults.js';
import { isolationTests } from './isolation.js';
import { secretsTests } from './secrets.js';
import { walkTests, type Walked } from './walk.js';

/** Images are built and five containers started. */
const UP_MS = 900_000;
/** Often enough to see every process of more than a moment, without being the load itself. */
const LOOK_EVERY_MS = 250;

// One environment for all, in this order: each part goes on from what the one before it left.
withEngine(describe)('docker-compose.yml', () => {
  const walked: Walked = {};
  const secrets = new PlantedSecrets();
  let processes: ProcessListWatch | undefined;
  let up: Environment | undefined;
  const environment = () => {
    if (!up) throw new Error('the environment is not up');
    return up;
  };

  const watch = () => (processes ??= new ProcessListWatch(secrets, () => undefined, LOOK_EVERY_MS));

  beforeAll(async () => {
    up = await Environment.up();
    watch();
    secrets.plant('the password of the database', up.databasePassword);
    secrets.plant('the admin token', up.api.token);
  }, UP_MS);

  afterAll(async () => {
    processes?.[Symbol.dispose]();
    // For whoever has to find out why something failed.
    if (up) writeFileSync(join(ROOT, '.images/suite.log'), await up.logs(), { mode: 0o600 });
    await up?.[Symbol.asyncDispose]();
  }, 120_000);

  describe('the networks', () => isolationTests(environment));
  describe('a walk from nothing to a restore', () => walkTests(environment, walked));
  describe('when a part is taken away', () => faultTests(environment, walked));
  // The last, because it looks at what all of them left.
  describe('no secret', () => secretsTests(environment, () => ({ secrets, processes: watch() }), walked));
});
