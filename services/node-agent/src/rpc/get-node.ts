import type { GetNodeResponse } from '@sendense/contracts';
import { buildInfo } from '@sendense/runtime';
import type { RpcContext } from './context.js';

export async function getNode({ enrolment, checks, jobs, startedAt }: RpcContext): Promise<GetNodeResponse> {
  return {
    name: enrolment.nodeName,
    version: buildInfo.version,
    commit: buildInfo.commit,
    startedAt,
    checks: (await checks.run()).map(({ name, ok, detail }) => ({ name, ok, detail })),
    runningJobs: jobs.running().length,
  };
}
