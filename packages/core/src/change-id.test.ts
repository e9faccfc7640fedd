import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { relateChangeIds, type ChangeIdRelation } from './change-id.js';

const UUID = '52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63';
const OTHER = '52 00 11 22 33 44 55 66-77 88 99 aa bb cc dd ee';

describe('relateChangeIds', () => {
  it.each<[string, string, ChangeIdRelation]>([
    [`${UUID}/81`, `${UUID}/82`, 'continues'],
    [`${UUID}/9`, `${UUID}/10`, 'continues'],
    [`${UUID}/81`, `${UUID}/81`, 'continues'],
    [`${UUID}/81`, `${UUID.toUpperCase()}/82`, 'continues'],
    [`${UUID}/82`, `${UUID}/81`, 'reverted'],
    [`${UUID}/9007199254740993`, `${UUID}/9007199254740992`, 'reverted'],
    [`${UUID}/81`, `${OTHER}/82`, 'foreign'],
    [`${UUID}/81`, `${OTHER}/1`, 'foreign'],
    ['*', `${UUID}/81`, 'unknown'],
    [`${UUID}/81`, '', 'unknown'],
    [`${UUID}/81`, UUID, 'unknown'],
    [`${UUID}/81`, `${UUID}/x`, 'unknown'],
    ['new form 7', 'new form 8', 'unknown'],
  ])('%s, then %s: %s', (previous, current, relation) => {
    expect(relateChangeIds(previous, current)).toBe(relation);
  });

  it('answers for any text', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (previous, current) => {
        expect(['continues', 'foreign', 'reverted', 'unknown']).toContain(relateChangeIds(previous, current));
      }),
    );
  });
});
