import type { VcenterRecord } from '@sendense/catalog';
import { Type, type Static } from 'typebox';
import { patternOf, textFormat } from '../api/validation.js';
import { Exactly, Id, Name, Time } from './fields.js';

export const VCenter = Type.Object(
  {
    vcenter_id: Type.String(),
    name: Type.String(),
    node_name: Type.String({ description: 'the node that stands next to it' }),
    endpoint: Type.String(),
    username: Type.String(),
    thumbprint: Type.String({ description: 'of the certificate that was confirmed' }),
    created_at: Time('when it was added'),
    updated_at: Time('when it was last changed'),
  },
  { title: 'VCenter', description: 'the password is stored encrypted and never shown' },
);

const Thumbprint = Type.String(
  patternOf(
    '^([0-9A-Fa-f]{2}:?){19}[0-9A-Fa-f]{2}$|^([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$',
    'the SHA-256 or SHA-1 of its certificate, hexadecimal, with or without colons',
  ),
);

const Username = Type.String({ minLength: 1, maxLength: 300, ...textFormat });
const Password = Type.String({ minLength: 1, maxLength: 1000, ...textFormat, writeOnly: true });

export const NewVCenter = Exactly(
  {
    name: Name('unique among the vCenters'),
    node_name: Id('the node that stands next to it'),
    endpoint: Type.String({
      ...patternOf(
        '^(https://)?(\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._/-]*)?$',
        'host, host:port or https://host:port of a vCenter or ESXi host',
      ),
      maxLength: 300,
    }),
    username: Username,
    password: Password,
    thumbprint: Type.Optional(Thumbprint),
  },
  'NewVCenter',
);

export const VCenterChange = Exactly(
  {
    username: Type.Optional(Username),
    password: Type.Optional(Password),
    thumbprint: Type.Optional(Thumbprint),
  },
  'VCenterChange',
);

export const VCenterCheck = Type.Object(
  {
    product: Type.String(),
    version: Type.String(),
    api_version: Type.String(),
    instance_uuid: Type.String(),
    thumbprint_sha256: Type.String(),
    thumbprint_sha1: Type.String(),
  },
  { title: 'VCenterCheck' },
);

export function vcenterView(record: VcenterRecord): Static<typeof VCenter> {
  return {
    vcenter_id: record.id,
    name: record.name,
    node_name: record.nodeName,
    endpoint: record.endpoint,
    username: record.username,
    thumbprint: record.thumbprint,
    created_at: record.createdAt.toISOString(),
    updated_at: record.updatedAt.toISOString(),
  };
}
