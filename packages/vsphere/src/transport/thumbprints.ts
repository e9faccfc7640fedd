import type { PeerCertificate } from 'node:tls';
import { SendenseError } from '@sendense/core';
import type { Thumbprints } from '../types.js';
import type { Endpoint } from './endpoint.js';

/** A certificate that somebody has confirmed: the one that may be talked to. */
export interface Pin {
  readonly algorithm: keyof Thumbprints;
  /** As in {@link Thumbprints}. */
  readonly thumbprint: string;
}

/** Accepts SHA-256 and SHA-1, with or without colons, in any case. @throws `invalid_argument` */
export function parsePin(text: string): Pin {
  const digits = text.trim().replace(/[:\s]/g, '').toUpperCase();
  const algorithm = { 64: 'sha256', 40: 'sha1' }[digits.length] as keyof Thumbprints | undefined;
  if (algorithm === undefined || !/^[0-9A-F]+$/.test(digits)) {
    throw new SendenseError(
      'invalid_argument',
      'the vCenter thumbprint is invalid: expected the SHA-256 (64) or SHA-1 (40 hexadecimal digits) of its certificate',
    );
  }
  return { algorithm, thumbprint: digits.replace(/(..)(?=.)/g, '$1:') };
}

export function thumbprintsOf(certificate: PeerCertificate): Thumbprints {
  return { sha256: certificate.fingerprint256, sha1: certificate.fingerprint };
}

/**
 * Lets only the pinned certificate pass. No certificate authority is asked: vCenter's own is self-signed on most sites.
 * @throws `vcenter_thumbprint_mismatch` · `vcenter_thumbprint_unconfirmed` when nothing is pinned
 */
export function checkPin(endpoint: Endpoint, pin: Pin | undefined, presented: Thumbprints): void {
  const context = {
    endpoint: endpoint.label,
    thumbprint_sha256: presented.sha256,
    thumbprint_sha1: presented.sha1,
  };
  if (pin === undefined) {
    throw new SendenseError(
      'vcenter_thumbprint_unconfirmed',
      `the certificate of ${endpoint.label} has not been confirmed: compare its thumbprint ${presented.sha256} (SHA-256) ` +
        `or ${presented.sha1} (SHA-1) with the one that vCenter shows, then pin it`,
      { context },
    );
  }
  const shown = presented[pin.algorithm];
  if (shown === pin.thumbprint) return;
  throw new SendenseError(
    'vcenter_thumbprint_mismatch',
    `${endpoint.label} presented another certificate than the pinned one: expected ${pin.thumbprint}, got ${shown}. ` +
      'If its certificate was renewed, confirm the new thumbprint; if not, somebody stands in between',
    { context: { ...context, expected: pin.thumbprint, presented: shown } },
  );
}
