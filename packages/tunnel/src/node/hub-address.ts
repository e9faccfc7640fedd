/** Where the hub is, and how it proves that it is the hub. */
export interface HubAddress {
  readonly host: string;
  readonly port: number;
  /** `SHA256:…` of the hub's host key, pinned at enrolment. */
  readonly hostKeyFingerprint: string;
}
