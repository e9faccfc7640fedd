import { describe, expect, it } from '@jest/globals';
import type { SendenseError } from '@sendense/core';
import { Type } from 'typebox';
import { Exactly, Name, NullableInput, pageQuery } from '../schemas/fields.js';
import { validatorCompiler } from './validation.js';

const Body = Exactly({
  name: Name('a name'),
  backup_type: Type.Enum(['full', 'incremental']),
  quiesce: Type.Optional(Type.Boolean()),
});

function check(schema: Parameters<typeof validatorCompiler>[0]['schema'], httpPart: string, value: unknown) {
  const validate = validatorCompiler({ schema, httpPart, method: 'POST', url: '/' });
  return validate(value) as { value?: unknown; error?: SendenseError };
}

describe('what comes in', () => {
  it.each([
    [{}, 'name is missing; backup_type is missing'],
    [{ name: 'x', backup_type: 'ful' }, 'backup_type must be one of full, incremental'],
    [{ name: '', backup_type: 'full' }, 'name must not be empty'],
    [{ name: 'x', backup_type: 'full', quiesce: 'yes' }, 'quiesce must be true or false'],
    [{ name: 'x', backup_type: 'full', compress: true }, 'compress is not a field of the body'],
    [{ name: 'a\0b', backup_type: 'full' }, 'name must be well-formed text without NUL characters'],
    [{ name: '\ud800', backup_type: 'full' }, 'name must be well-formed text without NUL characters'],
    [{ name: 'x'.repeat(1025), backup_type: 'full' }, 'name must have at most 1024 characters'],
    [null, 'the body must be an object'],
    [[], 'the body must be an object'],
    ['{}', 'the body must be an object'],
  ])('%j is refused: %s', (body, message) => {
    const { error } = check(Body, 'body', body);
    expect(error).toMatchObject({ code: 'invalid_argument', message });
  });

  it.each([
    [{ quick: 1 }, 'quick must be true or false'],
    [{ until: '' }, 'until must not be empty'],
    [{ other: 1 }, 'other is not a field of the body'],
    [[], 'the body must be an object'],
    ['', 'the body must be an object'],
  ])('%j is refused in a few words where null would do: %s', (body, message) => {
    const until = Type.Optional(NullableInput(Type.String({ minLength: 1 })));
    const schema = Type.Optional(NullableInput(Exactly({ quick: Type.Optional(Type.Boolean()), until })));
    expect(check(schema, 'body', body).error).toMatchObject({ code: 'invalid_argument', message });
    expect(check(schema, 'body', null).error).toBeUndefined();
  });

  it('names the fields for programs', () => {
    expect(check(Body, 'body', { name: 1, x: 2 }).error?.context['fields']?.split(',').sort()).toEqual([
      'backup_type',
      'name',
      'x',
    ]);
  });

  it('is taken as it is in bodies, and recognised in queries', () => {
    const names = ['a b', 'a\'b"c', '../x', 'a\nb', '🙂'.repeat(300), '‮gnp'];
    for (const name of names) {
      const body = { name, backup_type: 'full' };
      expect(check(Body, 'body', body)).toEqual({ value: body });
    }
    expect(check(Exactly(pageQuery), 'querystring', { limit: '12' })).toEqual({ value: { limit: 12 } });
    expect(check(Exactly(pageQuery), 'querystring', { limit: 'many' }).error?.message).toBe(
      'limit must be a whole number',
    );
  });
});
