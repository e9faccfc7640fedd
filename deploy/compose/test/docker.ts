import { execa } from 'execa';

/** Of `docker inspect`, what the suite looks at. */
export interface ContainerFacts {
  readonly State: {
    readonly Status: string;
    readonly ExitCode: number;
    readonly Health?: { readonly Status: string };
  };
  readonly Config: { readonly User: string };
  readonly HostConfig: {
    readonly ReadonlyRootfs: boolean;
    readonly CapDrop: readonly string[] | null;
    readonly CapAdd: readonly string[] | null;
    readonly SecurityOpt: readonly string[] | null;
    readonly Privileged: boolean;
  };
  readonly NetworkSettings: {
    readonly Networks: Readonly<Record<string, { readonly IPAddress: string; readonly Gateway: string }>>;
  };
}

/** The docker command. The last argument may be what it reads from its standard input. @returns its stdout */
export async function docker(...args: (string | { readonly input: string })[]): Promise<string> {
  const words = args.filter((arg) => typeof arg === 'string');
  const input = args.find((arg) => typeof arg !== 'string')?.input;
  const result = await execa('docker', words, {
    reject: false,
    ...(input === undefined ? { stdin: 'ignore' as const } : { input }),
  });
  if (result.exitCode !== 0)
    throw new Error(`docker ${words.slice(0, 4).join(' ')} …: ${result.stderr}\n${result.stdout}`);
  return result.stdout;
}

export async function inspect(container: string): Promise<ContainerFacts> {
  const [facts] = JSON.parse(await docker('inspect', container)) as readonly ContainerFacts[];
  if (!facts) throw new Error(`there is no container ${container}`);
  return facts;
}

/** Everything that the containers of a project printed, those that have ended included. */
export async function logsOf(project: string): Promise<string> {
  const { all } = await execa(
    'docker',
    ['compose', '-p', project, '--profile', 'demo', 'logs', '--no-color'],
    {
      ...{ all: true, reject: false },
    },
  );
  return all;
}
