import type { FastifySchemaCompiler } from 'fastify';
import { SendenseError } from '@sendense/core';
import type { TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import type { TLocalizedValidationError } from 'typebox/error';
import { Format } from 'typebox/format';
import { Value } from 'typebox/value';

/** Any text that can be stored and shown as it is: no lone surrogates, which UTF-8 cannot carry, and no NUL. */
const TEXT_FORMAT = 'text';
Format.Set(TEXT_FORMAT, (value) => value.isWellFormed() && !value.includes('\0'));

export const textFormat = { format: TEXT_FORMAT } as const;

const patternWords = new Map<string, string>();

/** A pattern, and what it means in words: for the document, and for whoever sent something else. */
export function patternOf(
  pattern: string,
  words: string,
): { readonly pattern: string; readonly description: string } {
  patternWords.set(pattern, words);
  return { pattern, description: words };
}

/**
 * Checks what comes in against the TypeBox schema of the route, which is also what the OpenAPI document shows. Bodies are
 * taken as they are; in paths and queries, where everything is text, numbers and booleans are recognised.
 */
export const validatorCompiler: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const validator = Compile(schema);
  return (value: unknown) => {
    const given = httpPart === 'body' ? value : Value.Convert(schema, value);
    if (validator.Check(given)) return { value: given };
    return { error: validationError(validator.Errors(given), httpPart ?? 'request') };
  };
};

function validationError(errors: readonly TLocalizedValidationError[], part: string): SendenseError {
  const problems = errors.filter((error) => !isAboutNull(error)).flatMap((error) => describe(error, part));
  const texts = [...new Set(problems.map(({ text }) => text))];
  const fields = [...new Set(problems.flatMap(({ field }) => (field === '' ? [] : [field])))];
  const text = texts.join('; ') || `the ${part} is not valid`;
  const context = fields.length > 0 ? { fields: fields.join(',') } : {};
  return new SendenseError('invalid_argument', text, { context });
}

/** What may be null may be something else too: whoever sent neither wants to know of that. */
function isAboutNull(error: TLocalizedValidationError): boolean {
  return error.keyword === 'anyOf' || (error.keyword === 'type' && error.params.type === 'null');
}

/** `disks/0/key` of the JSON pointer `/disks/0/key` */
function fieldOf(error: TLocalizedValidationError): string {
  return error.instancePath.slice(1).replaceAll('~1', '/').replaceAll('~0', '~');
}

/** What is wrong, beginning with the field's name; nothing for errors that another one already tells. */
function describe(error: TLocalizedValidationError, part: string): { field: string; text: string }[] {
  const field = fieldOf(error);
  const name = field === '' ? `the ${part}` : field;
  const within = (inner: string) => (field === '' ? inner : `${field}/${inner}`);
  switch (error.keyword) {
    case 'required':
      return error.params.requiredProperties.map((missing) => ({
        field: within(missing),
        text: `${within(missing)} is missing`,
      }));
    case 'additionalProperties':
      return error.params.additionalProperties.map((unknown) => ({
        field: within(shown(unknown)),
        text: `${within(shown(unknown))} is not a field of the ${part}`,
      }));
    case 'boolean':
      return []; // The same as additionalProperties, seen from inside.
    default:
      return [{ field, text: `${name} ${expectation(error)}` }];
  }
}

function expectation(error: TLocalizedValidationError): string {
  switch (error.keyword) {
    case 'enum':
      return `must be one of ${error.params.allowedValues.map(String).join(', ')}`;
    case 'type':
      return `must be ${TYPE_WORDS[String(error.params.type)] ?? String(error.params.type)}`;
    case 'minLength':
      return error.params.limit === 1
        ? 'must not be empty'
        : `must have at least ${error.params.limit} characters`;
    case 'maxLength':
      return `must have at most ${error.params.limit} characters`;
    case 'minimum':
      return `must be at least ${error.params.limit}`;
    case 'maximum':
      return `must be at most ${error.params.limit}`;
    case 'format':
      return error.params.format === TEXT_FORMAT
        ? 'must be well-formed text without NUL characters'
        : `must be a ${error.params.format}`;
    case 'pattern':
      return `must be ${patternWords.get(String(error.params.pattern)) ?? `like ${String(error.params.pattern)}`}`;
    default:
      return error.message;
  }
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  object: 'an object',
  array: 'a list',
  string: 'a text',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  null: 'null',
};

/** An unknown field's name comes from a stranger; it goes back shortened. */
function shown(name: string): string {
  const wellFormed = name.toWellFormed();
  return wellFormed.length > 60 ? `${wellFormed.slice(0, 60).toWellFormed()}…` : wellFormed;
}
