import type { Command } from 'commander';
import { SendenseError } from '@sendense/core';
import type { ProtectedVm, RetentionPreview, RetentionSetting, Task } from '../api-types.js';
import { ApiError } from '../client.js';
import { answer, type CommandContext } from '../command-context.js';
import { NO_WAIT, stayWith, type WaitOption } from '../long-work.js';
import { wholeNumber } from '../option-values.js';
import { policyText, showPreview } from '../retention-view.js';

interface ScopeOptions {
  readonly vm?: string;
  readonly context?: string;
  readonly repository?: string;
}

interface SetOptions extends ScopeOptions {
  readonly keepLast: number;
  readonly daily: number;
  readonly weekly: number;
  readonly monthly: number;
  readonly yearly: number;
  readonly timeZone?: string;
}

export function addRetentionCommands(program: Command, context: CommandContext): void {
  const retention = program
    .command('retention')
    .description('which restore points are kept, and for how long')
    .addHelpText(
      'after',
      `
A policy belongs to a VM, or is the default of a repository for VMs that have none of their own. Without any, every
restore point is kept. The newest good one and those that are held always stay.

Example:
  sendense retention set --vm pgtest1 --keep-last 3 --daily 7`,
    );
  addPolicies(retention, context);
  addPruning(retention, context);
}

function addPolicies(retention: Command, context: CommandContext): void {
  withScope(retention.command('show').description('the policy of a VM, or the default of a repository'))
    .addHelpText('after', '\nExample:\n  sendense retention show --vm pgtest1')
    .action(async (options: ScopeOptions, command: Command) => {
      const found = await context.api().get<RetentionSetting>(await scopePath(context, options));
      answer(
        context,
        command,
        found,
        found.policy ? `policy: ${policyText(found.policy)}` : 'policy: none is set here',
      );
    });

  withScope(
    retention.command('set').description('set or replace a policy; rules that are left out keep nothing'),
  )
    .option('--keep-last <n>', 'the newest so many', wholeNumber(0), 0)
    .option('--daily <n>', 'the newest of each of so many days', wholeNumber(0), 0)
    .option('--weekly <n>', 'of each of so many weeks', wholeNumber(0), 0)
    .option('--monthly <n>', 'of each of so many months', wholeNumber(0), 0)
    .option('--yearly <n>', 'of each of so many years', wholeNumber(0), 0)
    .option('--time-zone <name>', 'where a day begins: Europe/Berlin, …; UTC if not given')
    .addHelpText(
      'after',
      `
It is applied after each backup; see what it does first with 'sendense retention preview'.

Examples:
  sendense retention set --vm pgtest1 --keep-last 3 --daily 7 --weekly 4 --monthly 12
  sendense retention set --repository repo-local-1795250596 --daily 14 --time-zone Europe/Berlin`,
    )
    .action(async (options: SetOptions, command: Command) => {
      const { keepLast: keep_last, daily, weekly, monthly, yearly, timeZone: time_zone } = options;
      const policy = { keep_last, daily, weekly, monthly, yearly, ...(time_zone ? { time_zone } : {}) };
      const made = await context.api().put<RetentionSetting>(await scopePath(context, options), policy);
      answer(context, command, made, `policy: ${policyText(made.policy)}`);
    });

  withScope(
    retention.command('clear').description("remove a policy; a VM then follows its repository's default"),
  )
    .addHelpText('after', '\nExample:\n  sendense retention clear --vm pgtest1')
    .action(async (options: ScopeOptions, command: Command) => {
      await context.api().delete(await scopePath(context, options));
      answer(context, command, { policy: null }, 'The policy is removed.');
    });
}

function addPruning(retention: Command, context: CommandContext): void {
  withScope(
    retention
      .command('preview')
      .description('what the policy keeps of a VM in a repository, why, and what removing the rest costs'),
  )
    .addHelpText(
      'after',
      '\nExample:\n  sendense retention preview --vm pgtest1 --repository repo-local-1795250596',
    )
    .action(async (options: ScopeOptions, command: Command) => {
      const { path, repositoryId } = await target(context, options);
      const preview = await context
        .api()
        .get<RetentionPreview>(`${path}/preview`, { repository_id: repositoryId });
      answer(context, command, preview, showPreview(preview, context.tty));
    });

  withScope(
    retention
      .command('apply')
      .description('remove now what the policy does not keep of a VM in a repository'),
  )
    .option(...NO_WAIT)
    .addHelpText(
      'after',
      '\nExample:\n  sendense retention apply --vm pgtest1 --repository repo-local-1795250596',
    )
    .action(async (options: ScopeOptions & WaitOption, command: Command) => {
      const { path, repositoryId } = await target(context, options);
      const task = await context.api().post<Task>(`${path}/apply`, { repository_id: repositoryId });
      await stayWith(context, command, task, options);
    });
}

function withScope(command: Command): Command {
  return command
    .option('--vm <name>', 'a protected VM')
    .option('--context <id>', 'a protected VM by its context id, for VMs that share a name')
    .option('--repository <id>', 'a repository');
}

/** Whose policy. @throws `invalid_argument` unless exactly one is named */
async function scopePath(context: CommandContext, options: ScopeOptions): Promise<string> {
  const { vm, context: contextId, repository } = options;
  if ([vm, contextId, repository].filter((given) => given !== undefined).length !== 1)
    throw usage('name whose policy it is: one of --vm, --context or --repository');
  if (repository !== undefined) return `/api/v1/repositories/${encodeURIComponent(repository)}/retention`;
  return vmPath(contextId ?? (await contextOf(context, vm ?? '')));
}

/** Whose points. @throws `invalid_argument` unless a VM and a repository are named */
async function target(
  context: CommandContext,
  { vm, context: contextId, repository }: ScopeOptions,
): Promise<{ path: string; repositoryId: string }> {
  if ((vm === undefined) === (contextId === undefined) || repository === undefined)
    throw usage('name the VM with --vm or --context, and the repository with --repository');
  return { path: vmPath(contextId ?? (await contextOf(context, vm ?? ''))), repositoryId: repository };
}

/** @throws `vm_not_protected`; `invalid_argument` when several VMs have this name */
async function contextOf(context: CommandContext, name: string): Promise<string> {
  const found = await context.api().list<ProtectedVm>('/api/v1/vms', 'vms', { name });
  const [vm] = found;
  if (!vm)
    throw new ApiError(
      404,
      'vm_not_protected',
      `there is no protected VM ${name}: list them with 'sendense vm list'`,
    );
  if (found.length === 1) return vm.context_id;
  const ids = found.map(({ context_id }) => context_id).join(', ');
  throw usage(`several protected VMs are named ${name}: name one with --context (${ids})`);
}

function vmPath(contextId: string): string {
  return `/api/v1/vms/${encodeURIComponent(contextId)}/retention`;
}

function usage(message: string): SendenseError {
  return new SendenseError('invalid_argument', message);
}
