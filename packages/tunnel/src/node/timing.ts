export interface TunnelTiming {
  /** From the first packet to a completed authentication. @default 15000 */
  readonly connectTimeoutMs: number;
  /** The hub is asked for a sign of life this often. @default 4000 */
  readonly keepAliveIntervalMs: number;
  /** It is gone when it gave none in this many intervals after the first. @default 3 */
  readonly keepAliveTries: number;
  /** First wait before connecting again; doubles, jittered. @default 500 */
  readonly backoffMinMs: number;
  /** Longest wait, and the wait after a refusal that somebody has to act upon. @default 30000 */
  readonly backoffMaxMs: number;
  /** A connection that lasted this long starts the backoff afresh. @default 10000 */
  readonly stableAfterMs: number;
}

export const DEFAULT_TIMING: TunnelTiming = {
  connectTimeoutMs: 15_000,
  keepAliveIntervalMs: 4000,
  keepAliveTries: 3,
  backoffMinMs: 500,
  backoffMaxMs: 30_000,
  stableAfterMs: 10_000,
};
