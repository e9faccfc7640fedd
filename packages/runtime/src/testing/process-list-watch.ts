import { readdirSync, readFileSync } from 'node:fs';
import type { PlantedSecrets } from './planted-secrets.js';

const EVERY_MS = 20;

/** Looks all the time at what everybody can see of the processes of this machine: their command lines and environments. */
export class ProcessListWatch implements Disposable {
  /** `argv of nbdkit: the vCenter password` */
  readonly found = new Set<string>();
  /** The command lines seen of processes that have to do with the folder. */
  readonly programs = new Set<string>();
  readonly #timer: NodeJS.Timeout;

  constructor(
    private readonly secrets: PlantedSecrets,
    private readonly folder: () => string | undefined,
    everyMs = EVERY_MS,
  ) {
    this.#timer = setInterval(() => this.look(), everyMs);
  }

  look(): void {
    const folder = this.folder();
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      const argv = read(`/proc/${pid}/cmdline`);
      const environment = read(`/proc/${pid}/environ`);
      const program = argv.toString().replaceAll('\0', ' ');
      if (folder !== undefined && (argv.includes(folder) || environment.includes(folder)))
        this.programs.add(program);
      for (const name of this.secrets.in(argv)) this.found.add(`argv of ${program}: ${name}`);
      for (const name of this.secrets.in(environment)) this.found.add(`environment of ${program}: ${name}`);
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0); // It has ended, or is somebody else's.
  }
}
