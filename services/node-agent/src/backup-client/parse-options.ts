import { InvalidArgumentError } from 'commander';
import { SendenseError } from '@sendense/core';
import { parseNbdTargets } from '@sendense/nbd';
import * as validation from '../rpc/validation.js';

/** Lets commander say which option was wrong. */
function asOption<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      if (error instanceof SendenseError) throw new InvalidArgumentError(error.message);
      throw error;
    }
  };
}

export const targets = asOption(parseNbdTargets);

export const jobId = asOption((text) => validation.jobId('job id', text));

export const count = asOption((text) => whole(text, 1, 64));

export const bytes = asOption((text) => whole(text, 0, Number.MAX_SAFE_INTEGER));

/**
 * `2000=52 3c ec 11 9e 2c 4c 3d-87 4a c3 4e 85 f2 ea 95/446,2001=…`: a changeId holds blanks, hyphens and a slash, and
 * never a comma.
 */
export const changeIds = asOption((text): ReadonlyMap<number, string> => {
  const pairs = text.split(',').map((part): [number, string] => {
    const match = /^(\d{1,10})=([^=*]+)$/.exec(part);
    if (!match?.[2]) throw validation.invalid(`'${part}'`, 'DISKKEY=CHANGEID');
    return [validation.diskKey('disk key', Number(match[1])), match[2]];
  });
  const map = new Map(pairs);
  if (map.size !== pairs.length) throw validation.invalid('changeIds', 'each disk key once');
  return map;
});

function whole(text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max)
    throw validation.invalid(`'${text}'`, `a whole number from ${min} to ${max}`);
  return value;
}
