/** How long a node is waited for, in ms. */
export interface NodeLimits {
  /** Until its gRPC server is reached. */
  readonly ready: number;
  /** What it answers by itself. */
  readonly node: number;
  /** What it asks a vCenter for; it has limits of its own for that. */
  readonly vcenter: number;
  /** A stun takes seconds, and somebody waits for the answer: what takes longer is left to the next backup. */
  readonly stun: number;
  readonly sweep: number;
  /** Until a stream begins; longer than it takes to see that the connection is dead. A job may then be silent for hours. */
  readonly begin: number;
  /** Between two parts of a file. */
  readonly part: number;
}

export const NODE_LIMITS: NodeLimits = {
  ready: 5_000,
  node: 10_000,
  vcenter: 60_000,
  stun: 90_000,
  sweep: 600_000,
  begin: 30_000,
  part: 60_000,
};
