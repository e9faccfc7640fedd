import { describe, expect, it } from '@jest/globals';
import { LiveView } from './live-view.js';
import { cut } from './output.js';

const ESC = '\u001b';
const PARTS = new RegExp(`${ESC}\\[\\d+A|${ESC}\\[J|\\n|[^\\n${ESC}]+`, 'g');

/** What a person sees: lines, a cursor below the last one, and the two sequences that a view writes. */
class Terminal {
  readonly isTTY = true;
  #lines: string[] = [''];

  constructor(
    readonly columns = 20,
    readonly rows = 6,
  ) {}

  write(text: string): void {
    for (const [part] of text.matchAll(PARTS)) {
      if (part === '\n') this.#lines.push('');
      else if (part === '\u001b[J') this.#lines.push((this.#lines.pop(), ''));
      else if (part.startsWith('\u001b[')) this.#up(Number.parseInt(part.slice(2), 10));
      else this.#type(part);
    }
  }

  get shown(): string[] {
    return this.#lines.slice(0, -1);
  }

  #up(count: number): void {
    // No terminal goes further up than its first row.
    const most = Math.min(count, this.rows - 1);
    this.#lines = [...this.#lines.slice(0, this.#lines.length - 1 - most), ''];
  }

  /** What is wider goes on in the next line. */
  #type(text: string): void {
    let rest = text;
    for (;;) {
      const fits = cut(rest, this.columns);
      this.#lines.push(`${this.#lines.pop() ?? ''}${fits}`);
      rest = rest.slice(fits.length);
      if (rest === '') return;
      this.#lines.push('');
    }
  }
}

describe('a view that is drawn anew', () => {
  it('stays in its place, below the notes', () => {
    const terminal = new Terminal();
    const view = new LiveView(terminal, terminal);
    view.draw('disk 1  0 %\ntotal  0 %');
    view.note('the hub is away');
    expect(terminal.shown).toEqual(['the hub is away', 'disk 1  0 %', 'total  0 %']);
    view.draw('total  50 %');
    view.note('the hub is away');
    view.draw('disk 1  100 %\ntotal  100 %');
    view.print('done.');
    view.note('a note');
    view.draw('another');
    expect(terminal.shown).toEqual([
      ...[
        'the hub is away',
        'the hub is away',
        'disk 1  100 %',
        'total  100 %',
        'done.',
        'a note',
        'another',
      ],
    ]);
  });

  it('is cut to the terminal, also where characters are wide', () => {
    const terminal = new Terminal(12);
    const view = new LiveView(terminal, terminal);
    for (const percent of [0, 50, 100]) view.draw(`backup of 日本語 ${percent} %\n${'#'.repeat(40)}\n🙂 ok`);
    expect(terminal.shown).toEqual(['backup of 日', '############', '🙂 ok']);
  });

  it('is no higher than the terminal: the first lines, how many there are more, the last one', () => {
    const terminal = new Terminal(20, 6);
    const view = new LiveView(terminal, terminal);
    const disks = Array.from({ length: 9 }, (_, index) => `disk ${index}`);
    for (let round = 0; round < 3; round++) view.draw([...disks, 'total'].join('\n'));
    expect(terminal.shown).toEqual(['disk 0', 'disk 1', 'disk 2', '  … 6 more', 'total']);
  });

  it('is not touched by notes that go elsewhere', () => {
    const [terminal, file] = [
      new Terminal(),
      { text: '', write: (text: string) => void (file.text += text) },
    ];
    const view = new LiveView(terminal, file);
    view.draw('total  0 %');
    view.note('the hub is away');
    expect(file.text).toBe('the hub is away\n');
    expect(terminal.shown).toEqual(['total  0 %']);
  });
});
