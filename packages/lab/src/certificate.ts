import { X509Certificate } from 'node:crypto';
import { access, chmod, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '@sendense/runtime';

export interface Certificate {
  readonly certificatePem: string;
  readonly keyPem: string;
  /** Upper-case hexadecimal, bytes separated by colons. */
  readonly thumbprints: { readonly sha1: string; readonly sha256: string };
}

/** The self-signed certificate of the directory's vCenter, made at the first start. */
export async function loadCertificate(directory: string): Promise<Certificate> {
  const paths = { certificate: join(directory, 'server.crt'), key: join(directory, 'server.key') };
  try {
    await access(paths.certificate);
  } catch {
    await makeCertificate(paths.certificate, paths.key);
  }
  const certificatePem = await readFile(paths.certificate, 'utf8');
  const { fingerprint, fingerprint256 } = new X509Certificate(certificatePem);
  return {
    certificatePem,
    keyPem: await readFile(paths.key, 'utf8'),
    thumbprints: { sha1: fingerprint, sha256: fingerprint256 },
  };
}

async function makeCertificate(certificate: string, key: string): Promise<void> {
  const request = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '3650',
  ];
  const subject = [
    '-subj',
    '/O=Sendense lab/CN=localhost',
    '-addext',
    'subjectAltName=DNS:localhost,IP:127.0.0.1',
  ];
  const files = ['-keyout', key, '-out', `${certificate}.partial`];
  await runCommand('openssl', [...request, ...subject, ...files], {
    code: 'process_failed',
    what: 'making the certificate of the lab',
    missingHint: 'install openssl',
  });
  await chmod(key, 0o600);
  await rename(`${certificate}.partial`, certificate);
}
