const NODE_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const JOB_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** The SSH user that redeems an enrolment token. No node can have this name. */
export const ENROLMENT_USER = 'enrol';

/** The title of the dialogue whose text is the reason of a refused enrolment. */
export const ENROLMENT_REFUSED_TITLE = 'Refused';

/**
 * The name for which the node asks with `streamlocal-forward@openssh.com`: channels towards it end at the node's gRPC
 * server. It is a name, not a path: nothing on either side is opened by it.
 */
export const NODE_API_NAME = 'sendense-node-api';

/** Lower case letters, digits and inner hyphens, at most 63: safe in paths, user names and socket names. */
export function isNodeName(name: string): boolean {
  return NODE_NAME.test(name) && name !== ENROLMENT_USER;
}

/** Who an SSH connection says it is. */
export interface TunnelUser {
  readonly nodeName: string;
  /** Set for a lane: its connection can reach the ports of this job only. */
  readonly jobId: string | undefined;
}

/** `<node name>` or `<node name>+<job id>`. */
export function formatTunnelUser({ nodeName, jobId }: TunnelUser): string {
  return jobId === undefined ? nodeName : `${nodeName}+${jobId}`;
}

/** @returns undefined when it is not a well-formed user name of the tunnel */
export function parseTunnelUser(user: string): TunnelUser | undefined {
  const plus = user.indexOf('+');
  const nodeName = plus < 0 ? user : user.slice(0, plus);
  const jobId = plus < 0 ? undefined : user.slice(plus + 1);
  if (!isNodeName(nodeName) || (jobId !== undefined && !JOB_ID.test(jobId))) return undefined;
  return { nodeName, jobId };
}
