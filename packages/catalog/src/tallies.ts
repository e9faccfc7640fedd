import type { Transaction } from './database.js';

// Table `tallies`: see the models.

/** To be called in the transaction that makes, ends or removes what is counted. */
export async function count(transaction: Transaction, name: string, by: 1 | -1): Promise<void> {
  // Not an upsert, which reads first on MariaDB: of two that have read, neither could write.
  const { count: present } = await transaction.tally.updateMany({
    where: { name },
    data: { value: { increment: by } },
  });
  if (present === 0) await transaction.tally.create({ data: { name, value: by } });
}

/** By what follows the prefix, as far as anything was ever counted. @param prefix `backups/` */
export async function counts(client: Transaction, prefix: string): Promise<Map<string, number>> {
  const rows = await client.tally.findMany({ where: { name: { startsWith: prefix } } });
  return new Map(rows.map(({ name, value }) => [name.slice(prefix.length), value]));
}

export const pointsIn = (repositoryId: string) => `restore_points/${repositoryId}`;
