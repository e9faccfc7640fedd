import type { RandomBelow } from './random-numbers.js';
import type { SeededNames } from './seed.js';

/** One thing that is asked of the API. */
export interface Operation {
  readonly name: string;
  /** Another one each time, as far as there are several. */
  readonly path: (random: RandomBelow) => string;
}

/** Every list page and lookup that the API has, with every filter: first pages, pages deep inside, and what finds nothing. */
export function operations(names: SeededNames): Operation[] {
  return [
    ...vms(names),
    ...backups(names),
    ...restorePoints(names),
    ...tasks(names),
    ...auditEvents(names),
    ...others(names),
  ];
}

function operation(name: string, path: Operation['path']): Operation {
  return { name, path: (random) => `/api/v1/${path(random)}` };
}

/** Names the row that a page ended with (see the catalogue's paging): to page there would take longer than all the rest. */
function after(seconds: number, id: string): string {
  return Buffer.from(`${seconds * 1000} ${id}`).toString('base64url');
}

/** A backup far from both ends of every list. */
function inside({ sizes: { vms, pointsPerVm } }: SeededNames, random: RandomBelow) {
  return {
    vm: random(vms),
    day: Math.floor(pointsPerVm / 4) + random(Math.floor(pointsPerVm / 2)),
  };
}

function vms(names: SeededNames): Operation[] {
  const { vms: count } = names.sizes;
  return [
    operation('VMs: first page', () => 'vms'),
    operation('VMs: page of 250', () => 'vms?limit=250'),
    operation('VMs: a page deep inside', (random) => {
      const vm = random(count);
      return `vms?cursor=${after(1_767_225_600 + vm * 60, names.contextId(vm))}`;
    }),
    operation('VMs: by name', (random) => `vms?name=${names.vm(random(count))}`),
    operation('VMs: a name that none has', () => 'vms?name=nobody'),
    operation('VMs: of a vCenter', (random) => `vms?vcenter_id=vcenter-${100 + random(20)}`),
    operation('VM', (random) => `vms/${names.contextId(random(count))}`),
    operation('retention of a VM', (random) => `vms/${names.contextId(random(count))}/retention`),
    operation('retention preview of a VM', (random) => {
      const vm = random(count);
      return `vms/${names.contextId(vm)}/retention/preview?repository_id=${names.repositoryId(vm)}`;
    }),
  ];
}

function backups(names: SeededNames): Operation[] {
  const { vms: count } = names.sizes;
  const cursor = (random: RandomBelow) => {
    const { vm, day } = inside(names, random);
    return `cursor=${after(names.at(vm, day), names.backupId(vm, day))}`;
  };
  const repository = (random: RandomBelow) => `repository_id=${names.repositoryId(random(count))}`;
  return [
    operation('backups: first page', () => 'backups'),
    operation('backups: page of 250', () => 'backups?limit=250'),
    operation('backups: a page deep inside', (random) => `backups?${cursor(random)}`),
    ...['completed', 'failed', 'cancelled', 'running'].flatMap((state) => [
      operation(`backups: ${state}`, () => `backups?state=${state}`),
      operation(`backups: ${state}, deep inside`, (random) => `backups?state=${state}&${cursor(random)}`),
      operation(
        `backups: ${state}, in a repository`,
        (random) => `backups?state=${state}&${repository(random)}`,
      ),
      operation(
        `backups: ${state}, of a VM`,
        (random) => `backups?state=${state}&vm_name=${names.vm(random(count))}`,
      ),
    ]),
    operation('backups: of a VM by name', (random) => `backups?vm_name=${names.vm(random(count))}`),
    operation(
      'backups: of a VM by context',
      (random) => `backups?context_id=${names.contextId(random(count))}`,
    ),
    operation('backups: of a VM that does not exist', () => 'backups?vm_name=nobody'),
    operation('backups: in a repository', (random) => `backups?${repository(random)}`),
    operation(
      'backups: in a repository, deep',
      (random) => `backups?${repository(random)}&${cursor(random)}`,
    ),
    operation('backup', (random) => {
      const { vm, day } = inside(names, random);
      return `backups/${names.backupId(vm, day)}`;
    }),
  ];
}

function restorePoints(names: SeededNames): Operation[] {
  const { vms: count } = names.sizes;
  const cursor = (random: RandomBelow) => {
    const { vm, day } = inside(names, random);
    return `cursor=${after(names.at(vm, day) + 20, names.backupId(vm, day))}`;
  };
  const repository = (random: RandomBelow) => `repository_id=${names.repositoryId(random(count))}`;
  return [
    operation('restore points: first page', () => 'restore-points'),
    operation('restore points: page of 250', () => 'restore-points?limit=250'),
    operation('restore points: a page deep inside', (random) => `restore-points?${cursor(random)}`),
    operation(
      'restore points: of a VM by name',
      (random) => `restore-points?vm_name=${names.vm(random(count))}`,
    ),
    operation(
      'restore points: of a VM by context',
      (random) => `restore-points?context_id=${names.contextId(random(count))}`,
    ),
    operation('restore points: of a VM in a repository', (random) => {
      const vm = random(count);
      return `restore-points?context_id=${names.contextId(vm)}&repository_id=${names.repositoryId(vm)}`;
    }),
    operation('restore points: of a VM where it has none', (random) => {
      const vm = random(count);
      return `restore-points?vm_name=${names.vm(vm)}&repository_id=${names.repositoryId(vm + 1)}`;
    }),
    operation('restore points: in a repository', (random) => `restore-points?${repository(random)}`),
    operation(
      'restore points: in a repository, deep',
      (random) => `restore-points?${repository(random)}&${cursor(random)}`,
    ),
    operation('restore point', (random) => {
      const { vm, day } = inside(names, random);
      return `restore-points/${names.backupId(vm, day)}`;
    }),
  ];
}

function tasks(names: SeededNames): Operation[] {
  const { vms: count, pointsPerVm } = names.sizes;
  const cursor = (random: RandomBelow) => {
    const { vm, day } = inside(names, random);
    return `cursor=${after(names.at(vm, day) + 400, `task-verify-${vm}-${day}`)}`;
  };
  const tenth = (random: RandomBelow) => 10 * random(Math.ceil(pointsPerVm / 10));
  return [
    operation('tasks: first page', () => 'tasks'),
    operation('tasks: page of 250', () => 'tasks?limit=250'),
    operation('tasks: a page deep inside', (random) => `tasks?${cursor(random)}`),
    operation('tasks: of a kind', () => 'tasks?kind=prune'),
    operation('tasks: of a kind, deep inside', (random) => `tasks?kind=verify&${cursor(random)}`),
    operation('tasks: of a kind that never ran', () => 'tasks?kind=rescan'),
    operation('tasks: failed', () => 'tasks?state=failed'),
    operation('tasks: running', () => 'tasks?state=running'),
    operation('tasks: failed, of a kind', () => 'tasks?state=failed&kind=verify'),
    operation('tasks: cancelled, of a kind', () => 'tasks?state=cancelled&kind=verify'),
    operation('tasks: completed, of a kind that never ran', () => 'tasks?state=completed&kind=rescan'),
    operation(
      'tasks: of a VM',
      (random) => `tasks?subject_type=vm&subject_id=${names.contextId(random(count))}`,
    ),
    operation(
      'tasks: of a restore point',
      (random) =>
        `tasks?subject_type=restore_point&subject_id=${names.backupId(random(count), tenth(random))}`,
    ),
    operation('task', (random) => `tasks/task-verify-${random(count)}-${tenth(random)}`),
  ];
}

function auditEvents(names: SeededNames): Operation[] {
  const { vms: count, pointsPerVm } = names.sizes;
  const since = (seconds: number) => `since=${new Date(seconds * 1000).toISOString()}`;
  const longAgo = since(names.at(0, 0));
  const lately = () => since(names.at(count - 1, pointsPerVm - 1) - 600);
  const cursor = (random: RandomBelow) => `cursor=${after(0, String(random(count * pointsPerVm) + 1))}`;
  return [
    operation('audit: first page', () => 'audit-events'),
    operation('audit: page of 250', () => 'audit-events?limit=250'),
    operation('audit: a page deep inside', (random) => `audit-events?${cursor(random)}`),
    operation('audit: an action', () => 'audit-events?action=backup.end'),
    operation('audit: a rare action', () => 'audit-events?action=repository.add'),
    operation('audit: an actor', () => 'audit-events?actor=hub'),
    operation('audit: what an actor never did', () => 'audit-events?actor=hub&action=backup.start'),
    operation('audit: a rare action of an actor', () => 'audit-events?actor=hub&action=repository.add'),
    operation('audit: what an actor never did to it', () => 'audit-events?actor=hub&subject_type=node'),
    operation(
      'audit: an action, deep inside',
      (random) => `audit-events?action=backup.end&${cursor(random)}`,
    ),
    operation('audit: of a backup', (random) => {
      const { vm, day } = inside(names, random);
      return `audit-events?subject_type=backup&subject_id=${names.backupId(vm, day)}`;
    }),
    operation('audit: of a backup, without its type', (random) => {
      const { vm, day } = inside(names, random);
      return `audit-events?subject_id=${names.backupId(vm, day)}`;
    }),
    operation('audit: of all repositories', () => 'audit-events?subject_type=repository'),
    operation('audit: of all backups', () => 'audit-events?subject_type=backup'),
    operation('audit: of all backups, deep inside', (random) => {
      return `audit-events?subject_type=backup&${cursor(random)}`;
    }),
    operation('audit: of all backups, lately', () => `audit-events?subject_type=backup&${lately()}`),
    operation('audit: an action, of a type', () => 'audit-events?action=backup.end&subject_type=backup'),
    operation('audit: an action, of another type', () => 'audit-events?action=backup.end&subject_type=node'),
    operation('audit: an action of an actor, of its type', () => {
      return 'audit-events?actor=hub&action=backup.end&subject_type=backup';
    }),
    operation('audit: since long ago', () => `audit-events?${longAgo}`),
    operation('audit: lately', () => `audit-events?${lately()}`),
    operation('audit: an action, lately', () => `audit-events?action=backup.start&${lately()}`),
    operation('audit: a rare action since long ago', () => `audit-events?action=repository.add&${longAgo}`),
    operation('audit: since a time to come', () => 'audit-events?since=2100-01-01T00:00:00Z'),
  ];
}

function others(names: SeededNames): Operation[] {
  const { vms: count } = names.sizes;
  return [
    operation('repositories', () => 'repositories'),
    operation('repository', (random) => `repositories/${names.repositoryId(random(count))}`),
    operation(
      'retention of a repository',
      (random) => `repositories/${names.repositoryId(random(count))}/retention`,
    ),
    operation('nodes', () => 'nodes'),
    operation('node', (random) => `nodes/node-${100 + random(20)}`),
    operation('vCenters', () => 'vcenters'),
    operation('vCenter', (random) => `vcenters/vcenter-${100 + random(20)}`),
    operation('system', () => 'system'),
    { name: '/health', path: () => '/health' },
    { name: '/metrics', path: () => '/metrics' },
  ];
}
