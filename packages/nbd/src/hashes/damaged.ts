import { SendenseError } from '@sendense/core';

/** `block_hashes_invalid`. @param what is wrong with them */
export function damagedHashes(
  path: string,
  what: string,
  context: Readonly<Record<string, string | number>> = {},
): SendenseError {
  return new SendenseError(
    'block_hashes_invalid',
    `the block hashes in ${path} cannot be trusted: ${what}; a full backup of the VM makes new ones`,
    { context: { path, ...context } },
  );
}
