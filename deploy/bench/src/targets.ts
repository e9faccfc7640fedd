/** What the requirements want of one figure, and whether it is so. */
export interface Target {
  readonly name: string;
  readonly wanted: string;
  readonly measured: number;
  readonly met: boolean;
}

export function atLeast(name: string, limit: number, measured: number): Target {
  return { name, wanted: `at least ${limit}`, measured, met: measured >= limit };
}

export function atMost(name: string, limit: number, measured: number): Target {
  return { name, wanted: `at most ${limit}`, measured, met: measured <= limit };
}
