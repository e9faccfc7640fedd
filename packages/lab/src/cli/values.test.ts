import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { bytes, diskSpec, wholeNumber } from './values.js';

describe('what is typed on the command line', () => {
  it('reads sizes in powers of 1024', () => {
    expect(['0', '512', '64K', '64KiB', '1.5M', '102G', '62T'].map(bytes)).toEqual([
      0,
      512,
      65_536,
      65_536,
      1_572_864,
      102 * 2 ** 30,
      62 * 2 ** 40,
    ]);
    for (const wrong of ['', 'G', '-1', '1GB', '1 G', '0x10', '1e3', '9999999T', '0.1']) {
      expect(() => bytes(wrong)).toThrow(/number of bytes/);
    }
  });

  it('reads disks with their place and kind', () => {
    expect(
      diskSpec('5G,key=2016,controller=scsi1,unit=3,thick,mode=independent_persistent,multi-writer'),
    ).toEqual({
      sizeBytes: 5 * 2 ** 30,
      key: 2016,
      controller: 'scsi1',
      unitNumber: 3,
      thin: false,
      mode: 'independent_persistent',
      multiWriter: true,
    });
    for (const wrong of ['5G,colour=red', '5G,controller=floppy0', '5G,unit=x', '5G,mode=', ',thick']) {
      expect(() => diskSpec(wrong)).toThrow();
    }
  });

  it('refuses anything else with a message and nothing worse', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        for (const read of [bytes, diskSpec, wholeNumber]) {
          try {
            read(text);
          } catch (error) {
            expect((error as { code?: string }).code).toBe('commander.invalidArgument');
          }
        }
      }),
    );
  });
});
