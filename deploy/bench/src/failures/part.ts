import type { BenchOptions } from '../options.js';
import { Ground, type Told } from './ground.js';
import { HUB_SCENARIOS } from './hub-scenarios.js';
import { NODE_SCENARIOS } from './node-scenarios.js';
import type { Scenario } from './scenario.js';
import { VCENTER_SCENARIOS } from './vcenter-scenarios.js';

const SCENARIOS = [...HUB_SCENARIOS, ...NODE_SCENARIOS, ...VCENTER_SCENARIOS];
/** Two that show that all of it works. */
const QUICK = ['qemu-nbd is killed in the middle', 'VM is unknown'];

/** One failure and what came of it. */
export interface FailureResult extends Pick<Scenario, 'title' | 'limit'> {
  /** From the strike until somebody was told. */
  readonly toldSeconds: number;
  /** From then on, once it was put right, until nothing of the backup was left: lease, process, snapshot, file. */
  readonly cleanSeconds: number;
  readonly told: Told;
  /** Whether that is what was to be told. */
  readonly expected: boolean;
}

/** How soon failures are told: everything as it is by default, but for the line to the node and programs behind scripts. */
export async function measureFailures(
  options: BenchOptions,
  say: (text: string) => void,
): Promise<FailureResult[]> {
  await using ground = await Ground.open(options.directory, say);
  const results: FailureResult[] = [];
  for (const scenario of SCENARIOS) {
    if (options.quick && !QUICK.includes(scenario.title)) continue;
    if (scenario.needsMount && !ground.canMount) {
      say(`${scenario.title}: left out, nothing can be mounted here`);
      continue;
    }
    const result = await measureOne(ground, scenario);
    const { told, toldSeconds, cleanSeconds, expected } = result;
    say(
      `${scenario.title}: ${told.outcome} after ${toldSeconds.toFixed(2)} s, clean ${cleanSeconds.toFixed(2)} s later` +
        `${expected ? '' : ` — NOT ${scenario.outcome} ${scenario.code}`}: ${told.code} ${told.message}`,
    );
    results.push(result);
  }
  return results;
}

async function measureOne(ground: Ground, scenario: Scenario): Promise<FailureResult> {
  let struckAt = performance.now();
  const told = await scenario.run(ground, () => (struckAt = performance.now()));
  const toldAt = performance.now();
  ground.lab.clearFaults();
  await scenario.mend(ground);
  const mendedAt = performance.now();
  await ground.untilNode('online');
  await ground.clean();
  const cleanSeconds = (performance.now() - mendedAt) / 1000;
  return {
    title: scenario.title,
    limit: scenario.limit,
    toldSeconds: (toldAt - struckAt) / 1000,
    cleanSeconds,
    told,
    expected: told.outcome === scenario.outcome && told.code === scenario.code,
  };
}
