import { SendenseError } from '@sendense/core';

export interface EnrolmentToken {
  readonly nodeName: string;
  readonly secret: string;
  /** `SHA256:…` of the hub's host key, so that the node trusts no other hub. */
  readonly hostKeyFingerprint: string;
}

export function makeEnrolmentToken(_token: EnrolmentToken): string {
  throw new SendenseError('internal', 'not built yet');
}

export function parseEnrolmentToken(_text: string): EnrolmentToken {
  throw new SendenseError('internal', 'not built yet');
}
