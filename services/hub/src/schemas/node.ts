import { Type, type Static } from 'typebox';
import type { NodeView } from '../nodes/nodes.js';
import { patternOf } from '../api/validation.js';
import { Exactly, iso, Nullable, Time } from './fields.js';

export const Node = Type.Object(
  {
    name: Type.String(),
    state: Type.Enum(['pending', 'online', 'offline', 'revoked']),
    version: Nullable(Type.String({ description: 'of its build, when it was last seen' })),
    commit: Nullable(Type.String()),
    enrolled_at: Nullable(Time('when its key was accepted')),
    last_seen_at: Nullable(Time('when it was last connected')),
    checks: Type.Array(
      Type.Object({
        name: Type.String({ examples: ['nbdkit', 'vddk_library'] }),
        ok: Type.Boolean(),
        detail: Type.String({ description: 'what was found, or what is wrong and how to fix it' }),
      }),
      { description: 'what a backup needs on the node' },
    ),
    grpc_socket: Nullable(
      Type.String({
        description: 'on the hub: leads to its gRPC server, for grpcurl; null while it is not connected',
        examples: ['/run/sendense/nodes/site-1.sock'],
      }),
    ),
    socket_path: Type.String({ description: 'where `grpc_socket` is, or will be once it is connected' }),
    created_at: Time('when it was named'),
  },
  { title: 'Node' },
);

export const NewNode = Exactly(
  {
    name: Type.String(
      patternOf(
        '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$',
        'lower case letters, digits and inner hyphens, at most 63',
      ),
    ),
  },
  'NewNode',
);

export const Enrolment = Type.Object(
  {
    name: Type.String(),
    enrolment_token: Type.String({
      description: 'for `sendense-node enrol`: works once, and is not shown again',
    }),
    expires_at: Time('until when it can be used'),
  },
  { title: 'Enrolment' },
);

export function nodeView({ record, online, socketPath }: NodeView): Static<typeof Node> {
  const connected = online ? 'online' : 'offline';
  return {
    name: record.name,
    state: record.state === 'enrolled' ? connected : record.state,
    version: record.version ?? null,
    commit: record.commit ?? null,
    enrolled_at: record.state === 'enrolled' ? iso(record.enrolledAt) : null,
    last_seen_at: iso(record.lastSeenAt),
    checks: record.checks.map(({ name, ok, detail }) => ({ name, ok, detail })),
    grpc_socket: online ? socketPath : null,
    socket_path: socketPath,
    created_at: record.createdAt.toISOString(),
  };
}
