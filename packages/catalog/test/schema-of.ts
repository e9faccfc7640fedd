// What a database says of its own tables, in the same words for every kind.
import type { SqlDriverAdapter } from '@prisma/driver-adapter-utils';
import type { OwnDatabase } from '../src/testing/mariadb-server.js';

interface Table {
  columns: Record<string, { type: string; nullable: boolean; default: string | undefined; counts: boolean }>;
  primaryKey: string[];
  indexes: Record<string, { unique: boolean; columns: string[] }>;
  /** By column. */
  foreignKeys: Record<string, { to: string; onDelete: string; onUpdate: string }>;
}
export type Schema = Record<string, Table>;

type Row = Record<string, unknown>;

export async function sqliteSchema(adapter: SqlDriverAdapter): Promise<Schema> {
  const query = async (sql: string): Promise<Row[]> => {
    const { columnNames, rows } = await adapter.queryRaw({ sql, args: [], argTypes: [] });
    return rows.map((row) => Object.fromEntries(columnNames.map((name, index) => [name, row[index]])));
  };
  const schema: Schema = {};
  const tables = await query(
    `SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> '_prisma_migrations'`,
  );
  for (const { name, sql } of tables) {
    const table: Table = (schema[String(name)] = {
      columns: {},
      primaryKey: [],
      indexes: {},
      foreignKeys: {},
    });
    for (const column of await query(`SELECT * FROM pragma_table_info('${String(name)}') ORDER BY pk, cid`)) {
      const isKey = Number(column['pk']) > 0;
      if (isKey) table.primaryKey.push(String(column['name']));
      table.columns[String(column['name'])] = {
        type: String(column['type']),
        nullable: Number(column['notnull']) === 0,
        default: literal(column['dflt_value']),
        counts: isKey && String(sql).includes('AUTOINCREMENT'),
      };
    }
    for (const index of await query(
      `SELECT * FROM pragma_index_list('${String(name)}') WHERE origin = 'c'`,
    )) {
      const columns = await query(
        `SELECT name FROM pragma_index_info('${String(index['name'])}') ORDER BY seqno`,
      );
      table.indexes[String(index['name'])] = {
        unique: Number(index['unique']) === 1,
        columns: columns.map((column) => String(column['name'])),
      };
    }
    for (const key of await query(`SELECT * FROM pragma_foreign_key_list('${String(name)}')`))
      table.foreignKeys[String(key['from'])] = {
        to: `${String(key['table'])}.${String(key['to'])}`,
        onDelete: String(key['on_delete']),
        onUpdate: String(key['on_update']),
      };
  }
  return schema;
}

/** What a type of MariaDB is called in SQLite's schema; a text is what its index allows. */
const TYPES: readonly [RegExp, string][] = [
  [/^(varchar\(\d+\)|longtext)$/, 'TEXT'],
  [/^tinyint\(1\)$/, 'BOOLEAN'],
  [/^int\(11\)$/, 'INTEGER'],
  [/^bigint\(20\)$/, 'BIGINT'],
  [/^datetime\(3\)$/, 'DATETIME'],
];

export async function mariaDbSchema(database: OwnDatabase): Promise<Schema> {
  const own = `TABLE_SCHEMA = DATABASE() AND TABLE_NAME <> '_prisma_migrations'`;
  const schema: Schema = {};
  for (const column of await database.query<Row>(`SELECT * FROM information_schema.COLUMNS WHERE ${own}`)) {
    const table = (schema[String(column['TABLE_NAME'])] ??= {
      columns: {},
      primaryKey: [],
      indexes: {},
      foreignKeys: {},
    });
    const type = String(column['COLUMN_TYPE']);
    table.columns[String(column['COLUMN_NAME'])] = {
      type: TYPES.find(([pattern]) => pattern.test(type))?.[1] ?? type,
      nullable: column['IS_NULLABLE'] === 'YES',
      default: literal(column['COLUMN_DEFAULT']),
      counts: String(column['EXTRA']).includes('auto_increment'),
    };
  }
  const indexed = await database.query<Row>(
    `SELECT * FROM information_schema.STATISTICS WHERE ${own} ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX`,
  );
  for (const part of indexed) {
    const table = schema[String(part['TABLE_NAME'])]!;
    const name = String(part['INDEX_NAME']);
    const column = String(part['COLUMN_NAME']);
    if (name === 'PRIMARY') table.primaryKey.push(column);
    else
      (table.indexes[name] ??= { unique: Number(part['NON_UNIQUE']) === 0, columns: [] }).columns.push(
        column,
      );
  }
  const keys = await database.query<Row>(
    `SELECT k.TABLE_NAME, k.COLUMN_NAME, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, r.DELETE_RULE, r.UPDATE_RULE
     FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r
       ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
     WHERE k.CONSTRAINT_SCHEMA = DATABASE()`,
  );
  for (const key of keys)
    schema[String(key['TABLE_NAME'])]!.foreignKeys[String(key['COLUMN_NAME'])] = {
      to: `${String(key['REFERENCED_TABLE_NAME'])}.${String(key['REFERENCED_COLUMN_NAME'])}`,
      onDelete: String(key['DELETE_RULE']),
      onUpdate: String(key['UPDATE_RULE']),
    };
  return schema;
}

function literal(value: unknown): string | undefined {
  if (typeof value !== 'string' || value === 'NULL') return undefined;
  const text = value.replace(/^'(.*)'$/, '$1');
  return text === 'false' ? '0' : text;
}
