import { cut } from './output.js';

/** A stream that may be a terminal. */
export interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
}

/**
 * A block of lines that is drawn anew in its place, above which notes appear. To find its place again, no line of it may
 * be wider than the terminal, and it may not be higher.
 */
export class LiveView {
  #shown: readonly string[] = [];

  constructor(
    private readonly out: Screen,
    private readonly err: Screen,
  ) {}

  draw(text: string): void {
    this.#clear();
    this.#show(text.split('\n'));
  }

  /** What was drawn stays where it is. */
  print(text: string): void {
    this.#shown = [];
    this.out.write(`${text}\n`);
  }

  note(text: string): void {
    const shown = this.err.isTTY ? this.#shown : [];
    if (shown.length > 0) this.#clear();
    this.err.write(`${text}\n`);
    if (shown.length > 0) this.#show(shown);
  }

  #clear(): void {
    if (this.#shown.length > 0) this.out.write(`\u001b[${this.#shown.length}A\u001b[J`);
    this.#shown = [];
  }

  #show(lines: readonly string[]): void {
    const { columns = 80, rows = 24 } = this.out;
    this.#shown = fitting(lines, rows - 1).map((line) => cut(line, columns));
    this.out.write(`${this.#shown.join('\n')}\n`);
  }
}

/** What does not fit is left out before the last line, the total. */
function fitting(lines: readonly string[], rows: number): string[] {
  if (lines.length <= rows) return [...lines];
  const kept = lines.slice(0, Math.max(rows - 2, 0));
  return [...kept, `  … ${lines.length - kept.length - 1} more`, ...lines.slice(-1)];
}
