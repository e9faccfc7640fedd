import { printable } from '@sendense/core';

export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => string | number | undefined | null;
  readonly align?: 'left' | 'right';
}

/** An aligned table on a terminal; tab-separated values when piped, so that cut(1) and awk(1) can use it. */
export function table<T>(rows: readonly T[], columns: readonly Column<T>[], tty: boolean): string {
  const cells = rows.map((row) =>
    columns.map(({ value }) => {
      const shown = value(row);
      return shown === undefined || shown === null || shown === '' ? '-' : printable(String(shown));
    }),
  );
  const titles = columns.map(({ title }) => title);
  if (!tty) return [titles, ...cells].map((line) => line.join('\t')).join('\n');
  const widths = titles.map((title, index) =>
    Math.max(width(title), ...cells.map((line) => width(line[index] ?? ''))),
  );
  const lines = [titles, ...cells].map((line) =>
    line
      .map((cell, index) => pad(cell, widths[index] ?? 0, columns[index]?.align ?? 'left'))
      .join('  ')
      .trimEnd(),
  );
  return lines.join('\n');
}

/** `key: value` lines for one thing. */
export function facts(entries: readonly (readonly [string, string | number | undefined | null])[]): string {
  const shown = entries.filter(([, value]) => value !== undefined && value !== null && value !== '');
  const longest = Math.max(...shown.map(([key]) => key.length));
  return shown
    .map(([key, value]) => `${`${key}:`.padEnd(longest + 2)}${printable(String(value))}`)
    .join('\n');
}

const segmenter = new Intl.Segmenter();

/** Columns that a text takes: emoji and East Asian wide characters take two. */
function width(text: string): number {
  let columns = 0;
  for (const { segment } of segmenter.segment(text))
    columns +=
      /\p{Extended_Pictographic}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]/u.test(
        segment,
      )
        ? 2
        : 1;
  return columns;
}

/** As much of a text as fits into so many columns. */
export function cut(text: string, columns: number): string {
  if (width(text) <= columns) return text;
  let [kept, taken] = ['', 0];
  for (const { segment } of segmenter.segment(text)) {
    taken += width(segment);
    if (taken > columns) break;
    kept += segment;
  }
  return kept;
}

function pad(text: string, columns: number, align: 'left' | 'right'): string {
  const missing = ' '.repeat(Math.max(0, columns - width(text)));
  return align === 'left' ? text + missing : missing + text;
}

/** `102.0 GiB` */
export function formatBytes(bytes: number | undefined | null): string {
  if (bytes === undefined || bytes === null) return '-';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(1)} ${units[unit]}`;
}

/** `1:02:03`, `2:03` */
export function formatDuration(seconds: number | undefined | null): string {
  if (seconds === undefined || seconds === null || !Number.isFinite(seconds)) return '-';
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (value: number) => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** `[######------]  50 %` */
export function progressBar(done: number, total: number, columns = 24): string {
  const ratio = total > 0 ? Math.min(1, done / total) : 0;
  const filled = Math.floor(ratio * columns);
  return `[${'#'.repeat(filled)}${'-'.repeat(columns - filled)}] ${String(Math.floor(ratio * 100)).padStart(3)} %`;
}
