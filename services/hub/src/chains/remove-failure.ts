import { SendenseError, toSendenseError } from '@sendense/core';
import type { RepositoryAccess, UsableRepository } from '../runs/dependencies.js';

/**
 * Why a removal failed, in words that name the repository: it is full, or it is not there any more. In the empty mount
 * point of one that was unmounted meanwhile any file is missing, which says nothing.
 */
export async function reasonOf(
  error: SendenseError,
  repository: UsableRepository,
  repositories: RepositoryAccess,
): Promise<SendenseError> {
  if (error.code === 'cancelled') return error;
  const { id, path } = repository;
  if (error.code === 'out_of_space')
    return new SendenseError(
      'repository_full',
      `repository ${id} (${path}) is full: ${error.message}. Free space there`,
      { context: { repository_id: id, path }, cause: error },
    );
  try {
    await repositories.usable(id);
    return error;
  } catch (unusable) {
    const { code, message, context } = toSendenseError(unusable);
    return new SendenseError(code, message, { context, cause: error });
  }
}
