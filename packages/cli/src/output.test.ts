import { describe, expect, it } from '@jest/globals';
import { facts, formatBytes, formatDuration, progressBar, table } from './output.js';

const columns = [
  { title: 'NAME', value: (row: { name: string; size: number }) => row.name },
  { title: 'SIZE', value: (row: { name: string; size: number }) => row.size, align: 'right' as const },
];

describe('output', () => {
  it('aligns on a terminal, also with wide characters', () => {
    const rows = [
      { name: 'a', size: 5 },
      { name: '🙂 b', size: 500 },
    ];
    expect(table(rows, columns, true)).toBe('NAME  SIZE\na        5\n🙂 b   500');
  });

  it('is tab-separated when piped, and a name cannot forge a line', () => {
    expect(table([{ name: 'a\nb\tc', size: 1 }], columns, false)).toBe('NAME\tSIZE\na\\nb\\tc\t1');
  });

  it('shows sizes, times and bars', () => {
    expect(formatBytes(109521666048)).toBe('102.0 GiB');
    expect(formatBytes(12)).toBe('12 B');
    expect(formatDuration(3723)).toBe('1:02:03');
    expect(progressBar(99, 100, 10)).toBe('[#########-]  99 %');
    expect(progressBar(0, 0, 4)).toBe('[----]   0 %');
    expect(
      facts([
        ['id', 'x'],
        ['longer', undefined],
        ['name', 3],
      ]),
    ).toBe('id:   x\nname: 3');
  });
});
