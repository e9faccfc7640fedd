/** Bounds on what peers may use. */
export interface TunnelLimits {
  /** From the TCP connection to a completed authentication. @default 15000 */
  readonly authenticationTimeoutMs: number;
  /** Connections of strangers on the whole hub; the oldest goes when another one comes. @default 100 */
  readonly maxUnauthenticated: number;
  /** Refused attempts, after which a connection is closed. @default 6 */
  readonly maxAuthenticationTries: number;
  /** Channels of one connection at a time, both directions. @default 64 */
  readonly maxChannels: number;
  /** Refused requests of an authenticated connection, after which it is closed. @default 100 */
  readonly maxRefusals: number;
  /** Authenticated connections of one node. @default 128 */
  readonly maxConnectionsPerNode: number;
  /** A peer is asked for a sign of life this often. @default 4000 */
  readonly keepAliveIntervalMs: number;
  /** It is gone when it gave none in this many intervals after the first. @default 3 */
  readonly keepAliveTries: number;
  /**
   * New session keys after this many bytes of a connection. RFC 4344 asks for them within 2³² cipher blocks, which are
   * 64 GiB. @default 32 GiB
   */
  readonly rekeyBytes: number;
}

export const DEFAULT_LIMITS: TunnelLimits = {
  authenticationTimeoutMs: 15_000,
  maxUnauthenticated: 100,
  maxAuthenticationTries: 6,
  maxChannels: 64,
  maxRefusals: 100,
  maxConnectionsPerNode: 128,
  keepAliveIntervalMs: 4000,
  keepAliveTries: 3,
  rekeyBytes: 32 * 2 ** 30,
};
