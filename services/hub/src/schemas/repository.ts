import { Type, type Static } from 'typebox';
import type { RepositoryWithStatus } from '../repositories/repositories.js';
import { Bytes, Exactly, Name, Nullable, Time } from './fields.js';

export const Repository = Type.Object(
  {
    repository_id: Type.String({ examples: ['repo-local-1795250596'] }),
    name: Type.String(),
    type: Type.Enum(['local']),
    path: Type.String({ description: 'on the hub; absolute and without symbolic links' }),
    status: Type.Enum(['available', 'unavailable']),
    status_reason: Nullable(Type.String({ description: 'why it is unavailable, and what to do' })),
    status_code: Nullable(Type.String({ description: 'the stable code of the reason' })),
    total_bytes: Nullable(Bytes('of the file system that it is on')),
    used_bytes: Nullable(Bytes('of the file system, by anybody')),
    available_bytes: Nullable(Bytes("what the hub's user may still write")),
    backup_count: Type.Integer({ description: 'restore points that lie in it' }),
    created_at: Time('when it was added'),
  },
  { title: 'Repository' },
);

export const NewRepository = Exactly(
  {
    name: Name('unique among the repositories'),
    type: Type.Enum(['local']),
    path: Type.String({
      minLength: 1,
      maxLength: 1000,
      format: 'text',
      description: "an existing directory of the hub, absolute, writable for the hub's user",
    }),
    adopt: Type.Optional(
      Type.Boolean({
        description:
          'take it over with its restore points although it carries the mark of another hub, which must not use it any more',
      }),
    ),
  },
  'NewRepository',
);

export function repositoryView({ record, status }: RepositoryWithStatus): Static<typeof Repository> {
  const { space } = status;
  return {
    repository_id: record.id,
    name: record.name,
    type: record.type,
    path: record.path,
    status: status.available ? 'available' : 'unavailable',
    status_reason: status.available ? null : status.problem.message,
    status_code: status.available ? null : status.problem.code,
    total_bytes: space?.totalBytes ?? null,
    used_bytes: space?.usedBytes ?? null,
    available_bytes: space?.availableBytes ?? null,
    backup_count: record.backupCount,
    created_at: record.createdAt.toISOString(),
  };
}
