import { PATHS } from './bench.js';
import { catalogueRows } from './catalogue/report.js';
import { failuresRows } from './failures/report.js';
import { incrementalRows } from './incremental/report.js';
import type { PathReport, Report } from './report.js';

const TITLES = {
  full: 'backup (full path)',
  direct: 'nbdcopy, no tunnel',
  ssh: 'nbdcopy, ssh -L',
} as const;

/** The report for people: speeds, processes, targets. */
export function formatReport(report: Report): string {
  const { workloads, lines, incremental, catalogue, failures } = report;
  const full = Object.keys(workloads).length + lines.length > 0;
  return [
    ...(full ? [speeds(report), processes(report)] : []),
    ...(incremental ? [table(incrementalRows(incremental), 1)] : []),
    ...(catalogue ? [table(catalogueRows(catalogue), 1)] : []),
    ...(failures ? [table(failuresRows(failures), 3)] : []),
    targets(report),
  ].join('\n\n');
}

function speeds({ workloads, lines }: Report): string {
  const rows = [['data', 'path', 'seconds', 'MiB/s', 'end to end', 'backup is × as fast']];
  for (const [name, { paths, full_to_direct, full_to_ssh }] of Object.entries(workloads)) {
    const ratio = { full: '', direct: full_to_direct.toFixed(2), ssh: full_to_ssh.toFixed(2) };
    for (const path of PATHS) rows.push([name, TITLES[path], ...timing(paths[path]), ratio[path]]);
  }
  for (const line of lines) {
    const ratio = line.rtt_ms === 0 ? '' : `${line.to_0_ms.toFixed(2)} of 0 ms`;
    rows.push(['dense', `backup, relay ${line.rtt_ms} ms`, ...timing(line), ratio]);
  }
  return table(rows, 2);
}

function timing({ seconds, mib_per_second: speed, end_to_end_seconds: endToEnd }: PathReport): string[] {
  return [seconds.toFixed(2), String(speed), endToEnd?.toFixed(2) ?? ''];
}

function processes({ workloads, lines }: Report): string {
  const rows = [['data', 'path', 'process', 'number', 'CPU s', 'peak MiB']];
  const add = (data: string, path: string, of: PathReport) => {
    for (const { name, processes: number, cpu_seconds: cpu, peak_rss_mib: peak } of of.processes)
      rows.push([data, path, name, String(number), cpu.toFixed(2), String(peak)]);
  };
  for (const [name, { paths }] of Object.entries(workloads))
    for (const path of PATHS) add(name, TITLES[path], paths[path]);
  for (const line of lines) add('dense', `backup, relay ${line.rtt_ms} ms`, line);
  return table(rows, 3);
}

function targets({ targets: list }: Report): string {
  const rows = list.map(({ name, wanted, measured, met }) => {
    return [met ? 'met' : 'MISSED', name, wanted, String(measured)];
  });
  return table([['target', '', 'wanted', 'measured'], ...rows], 3);
}

/** @param textColumns the first ones, which are aligned left; numbers are aligned right */
function table(rows: readonly (readonly string[])[], textColumns: number): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return column < textColumns ? cell.padEnd(width) : cell.padStart(width);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
