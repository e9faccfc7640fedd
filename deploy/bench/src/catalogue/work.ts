import { mariaDbTarget, openCatalog, type Catalog } from '@sendense/catalog';
import { silentLogger } from '@sendense/runtime';
import type { Timings } from './part.js';
import { randomNumbers, type RandomBelow } from './random-numbers.js';
import type { SeededNames } from './seed.js';

/** What the hub asks of its catalogue at its start, now and then, and for each backup. */
function works(
  catalog: Catalog,
  names: SeededNames,
): Record<string, (random: RandomBelow) => Promise<unknown>> {
  const { restorePoints, backups, tasks, retention, chainLocks, cleanups, vms } = catalog;
  const chain = (random: RandomBelow) => {
    const vm = random(names.sizes.vms);
    return { vm, contextId: names.contextId(vm), repositoryId: names.repositoryId(vm) };
  };
  const day = names.sizes.pointsPerVm - 2;
  return {
    'start: backups that have not ended': () => backups.active(),
    'start: tasks that have not ended': () => tasks.unfinished(),
    'start: locks': () => chainLocks.list(),
    'start, each hour: removals that are not finished': () => restorePoints.removing(),
    'each second: cleanups that are due': () => cleanups.due(),
    'each minute: what to verify next': () => restorePoints.oldestVerified(100),
    'plan: the VM by its name': (random) => vms.getByName(names.vm(random(names.sizes.vms))),
    'plan: the newest point of a VM': (random) => {
      const { contextId, repositoryId } = chain(random);
      return restorePoints.latest(contextId, repositoryId);
    },
    'plan: its chain': (random) => restorePoints.chain(names.backupId(random(names.sizes.vms), day)),
    'retention: the policy in force': (random) => {
      const { contextId, repositoryId } = chain(random);
      return retention.effective(contextId, repositoryId);
    },
    'retention: all points of a VM': (random) => {
      const { contextId, repositoryId } = chain(random);
      return restorePoints.ofContext(contextId, repositoryId);
    },
    'removal: the points that build on one': (random) =>
      restorePoints.children(names.backupId(random(names.sizes.vms), day)),
  };
}

/** Asked directly, in this process: nobody asks for it over HTTP. */
export async function measureWork(
  where: { readonly directory: string; readonly database: string | undefined },
  names: SeededNames,
): Promise<Timings[]> {
  await using catalog = await openCatalog({
    directory: where.directory,
    database: where.database === undefined ? undefined : mariaDbTarget(where.database),
    log: silentLogger,
  });
  const random = randomNumbers();
  const timings: Timings[] = [];
  for (const [name, work] of Object.entries(works(catalog, names))) {
    await work(random);
    const ms: number[] = [];
    for (let index = 0; index < names.sizes.requests; index++) {
      const begun = performance.now();
      await work(random);
      ms.push(performance.now() - begun);
    }
    timings.push({ name, ms });
  }
  return timings;
}
