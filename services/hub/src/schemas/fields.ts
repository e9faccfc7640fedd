import { Type, type Static, type TSchema, type TUnsafe } from 'typebox';
import { textFormat } from '../api/validation.js';

/** Longer than any name that vSphere allows (80 characters), in UTF-16 units: 300 emoji still fit. */
const MAX_NAME_LENGTH = 1024;

/** A name that people give: any characters, stored and shown as they are. */
export const Name = (description: string) =>
  Type.String({ minLength: 1, maxLength: MAX_NAME_LENGTH, ...textFormat, description });

/** An id or path parameter that may hold anything; what does not exist is not found. */
export const Id = (description: string) =>
  Type.String({ minLength: 1, maxLength: MAX_NAME_LENGTH, description });

/** In what comes in: its errors say what else than null it may be. */
export const NullableInput = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);

const SCALARS = new Set<unknown>(['string', 'integer', 'number', 'boolean']);

/**
 * In answers. A single value is described by both of its types: the serializer would try alternatives (`anyOf`) one after
 * the other, with a validator, for each value of each row of a page.
 */
export const Nullable = <T extends TSchema>(schema: T): TUnsafe<Static<T> | null> => {
  const type: unknown = 'type' in schema ? schema.type : undefined;
  const isScalar = SCALARS.has(type) && !('enum' in schema);
  return Type.Unsafe(isScalar ? { ...schema, type: [type, 'null'] } : NullableInput(schema));
};

export const Time = (description: string) => Type.String({ format: 'date-time', description });

export const Bytes = (description: string) => Type.Integer({ minimum: 0, description });

/** A body or query of exactly these fields: unknown ones are refused by name. */
export const Exactly = <T extends Record<string, TSchema>>(fields: T, title?: string) =>
  Type.Object(fields, { additionalProperties: false, ...(title ? { title } : {}) });

/** What the lists that come in pages take. */
export const pageQuery = {
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 250, description: 'at most so many; 100 if not given' }),
  ),
  cursor: Type.Optional(
    Type.String({ maxLength: 500, ...textFormat, description: '`next_cursor` of the page before' }),
  ),
};

export const NextCursor = Nullable(
  Type.String({ description: 'for the page that follows; null on the last one' }),
);

/** Empty, or an empty object: for calls that need no body. */
export const NoBody = Type.Optional(NullableInput(Exactly({})));

export const iso = (at: Date | undefined): string | null => at?.toISOString() ?? null;
