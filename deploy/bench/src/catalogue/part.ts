import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Scratch } from '../scratch.js';
import { openGrounds, type Ground } from './grounds.js';
import { hubHome, makeToken, MeasuredHub, type HubHome } from './measured-hub.js';
import { operations, type Operation } from './operations.js';
import { randomNumbers, type RandomBelow } from './random-numbers.js';
import { SeededNames } from './seed.js';
import { catalogueSizes, type CatalogueSizes } from './sizes.js';
import { machineTimes, stolenShare, timesSince, type MachineTimes } from './stolen-time.js';
import { measureWork } from './work.js';

/** How long something took, each time. */
export interface Timings {
  readonly name: string;
  readonly ms: readonly number[];
}

export interface DatabaseResults {
  /** `SQLite`, or MariaDB with its version. */
  readonly database: string;
  readonly seedSeconds: number;
  readonly databaseMib: number;
  readonly startSeconds: number;
  /** Resident, of the hub: after its start, and at its highest when every request had been made. */
  readonly memoryMib: { readonly started: number; readonly peak: number };
  /**
   * Of the CPU time that was wanted meanwhile, what the machine below gave to others instead (nothing runs then): while
   * requests were made that are counted, and in all.
   */
  readonly stolenShare: { readonly counted: number; readonly all: number };
  /** Through the API. */
  readonly requests: readonly Timings[];
  /** What the hub asks of the catalogue on its own account. */
  readonly work: readonly Timings[];
}

export interface CatalogueResults {
  readonly sizes: CatalogueSizes;
  readonly databases: readonly DatabaseResults[];
}

/** Requests of each kind that are not counted. */
const WARM_UP = 3;
/** The kinds take turns, so that what disturbs the machine for a while is not put down to a single kind. */
const ROUNDS = 5;
/**
 * What a kind asks in its turn is asked again when the machine below took more than this of the CPU time that was wanted
 * meanwhile, up to so many times in all. It takes it in bursts of some tenths of a second.
 */
const QUIET_SHARE = 0.03;
const MOST_TRIES = 4;
const REPOSITORIES = 4;

/** How fast a large catalogue answers, on each database that can be started here. */
export async function measureCatalogue(
  { directory, quick }: { readonly directory: string; readonly quick: boolean },
  say: (text: string) => void,
  grounds = openGrounds(),
): Promise<CatalogueResults> {
  const sizes = catalogueSizes(quick);
  const databases: DatabaseResults[] = [];
  for (const openGround of grounds) {
    await using scratch = Scratch.make(directory);
    const folder = scratch.path;
    await using ground = await openGround(folder);
    databases.push(await measureOn(ground, folder, sizes, say));
  }
  return { sizes, databases };
}

async function measureOn(
  ground: Ground,
  folder: string,
  sizes: CatalogueSizes,
  say: (text: string) => void,
): Promise<DatabaseResults> {
  const home = await hubHome(folder, ground.url);
  const token = await makeToken(home);
  const names = new SeededNames(sizes, await addRepositories(home, token), new Date());
  say(`${ground.name}: writing ${sizes.vms} VMs and ${sizes.vms * sizes.pointsPerVm} restore points`);
  const begun = performance.now();
  await ground.seed(names);
  const seedSeconds = (performance.now() - begun) / 1000;
  const databaseMib = ground.sizeMib();
  say(`${ground.name}: ${databaseMib} MiB in ${seedSeconds.toFixed(0)} s`);
  const measured = await measureHub(home, token, names);
  const work = await measureWork({ directory: join(folder, 'data'), database: ground.url }, names);
  return { database: ground.name, seedSeconds, databaseMib, ...measured, work };
}

async function addRepositories(home: HubHome, token: string): Promise<string[]> {
  await using hub = await MeasuredHub.start(home, token);
  const ids: string[] = [];
  for (let number = 1; number <= REPOSITORIES; number++) {
    const path = join(home.directory, `repository-${number}`);
    mkdirSync(path);
    ids.push(await hub.addRepository(`bench ${number}`, path));
  }
  return ids;
}

async function measureHub(home: HubHome, token: string, names: SeededNames) {
  await using hub = await MeasuredHub.start(home, token);
  const started = hub.memoryMib().now;
  const random = randomNumbers();
  const kinds = operations(names);
  for (const { path } of kinds) for (let index = 0; index < WARM_UP; index++) await hub.get(path(random));
  const slices: { readonly tries: readonly Slice[]; readonly counted: Slice; readonly kind: Operation }[] =
    [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const kind of kinds) {
      const tries = await measureQuietly(hub, kind, random, names.sizes.requests / ROUNDS);
      slices.push({ tries, counted: quietest(tries), kind });
    }
  }
  return {
    startSeconds: hub.startSeconds,
    memoryMib: { started, peak: hub.memoryMib().peak },
    stolenShare: {
      counted: stolenShare(slices.map(({ counted }) => counted.times)),
      all: stolenShare(slices.flatMap(({ tries }) => tries.map(({ times }) => times))),
    },
    requests: kinds.map((kind) => ({
      name: kind.name,
      ms: slices.filter((slice) => slice.kind === kind).flatMap(({ counted }) => counted.ms),
    })),
  };
}

/** Some requests of a kind, one after another. */
interface Slice {
  readonly ms: readonly number[];
  /** Of the machine, meanwhile. */
  readonly times: MachineTimes;
}

/** @returns each try; the last one had the machine to itself, or there were enough */
async function measureQuietly(
  hub: MeasuredHub,
  { path }: Operation,
  random: RandomBelow,
  requests: number,
): Promise<Slice[]> {
  const tries: Slice[] = [];
  do {
    const before = machineTimes();
    const ms: number[] = [];
    for (let index = 0; index < requests; index++) ms.push((await hub.get(path(random))).ms);
    tries.push({ ms, times: timesSince(before) });
  } while (tries.length < MOST_TRIES && share(tries.at(-1)) > QUIET_SHARE);
  return tries;
}

/** Chosen by what others took of the machine, not by how long requests took. */
function quietest(tries: readonly Slice[]): Slice {
  return tries.reduce((best, slice) => (share(slice) < share(best) ? slice : best));
}

function share(slice: Slice | undefined): number {
  return slice ? stolenShare([slice.times]) : 0;
}
