import { describe, expect, it } from '@jest/globals';
import { bytes, changeIds, count, jobId, targets } from './parse-options.js';

describe('options of a backup by hand', () => {
  it('reads changeIds as vSphere writes them', () => {
    const first = '52 3c ec 11 9e 2c 4c 3d-87 4a c3 4e 85 f2 ea 95/446';
    expect(changeIds(`2000=${first},2016=52 00/1`)).toEqual(
      new Map([
        [2000, first],
        [2016, '52 00/1'],
      ]),
    );
  });

  it.each(['', '2000', '2000=', '=x', '2000=a,2000=b', '2000=*', 'a=b'])('refuses changeIds %j', (text) => {
    expect(() => changeIds(text)).toThrow(expect.objectContaining({ code: 'commander.invalidArgument' }));
  });

  it('refuses what is no target, job id or number', () => {
    for (const wrong of [
      () => targets('nbd://x'),
      () => jobId('a/b'),
      () => count('0'),
      () => count('1e1'),
      () => bytes('-1'),
    ])
      expect(wrong).toThrow(expect.objectContaining({ code: 'commander.invalidArgument' }));
    expect(bytes('1048576')).toBe(1_048_576);
  });
});
