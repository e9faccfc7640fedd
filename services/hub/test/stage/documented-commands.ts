// Commands of a documentation page and what they answer there, shortened with `…`, compared with what they really answer.

export interface Example {
  readonly command: string;
  readonly kind: 'json' | 'text';
  /** As the page shows it. */
  readonly answer: string;
}

/** Each block marked `sh` together with the block `json` or `text` that follows it. */
export function examplesOf(page: string): Example[] {
  const pairs = page.matchAll(/^```sh\n(.*?)^```\n\n```(json|text)\n(.*?)^```$/gms);
  return [...pairs].map(([, command = '', kind, answer = '']) => ({
    command: command.trimEnd(),
    kind: kind === 'json' ? 'json' : 'text',
    answer: answer.trimEnd(),
  }));
}

/**
 * Whether each line of the page is in the answer, in this order; `…` at the end of a line stands for the rest of it, as a
 * line for any lines.
 *
 * @returns what is shown and not answered
 */
export function matchesText(actual: string, shown: string): string | undefined {
  const lines = actual.split('\n');
  for (const line of shown.split('\n').filter((text) => text.trim() !== '…')) {
    const begins = line.endsWith('…') ? line.slice(0, -1) : undefined;
    const found = lines.findIndex((one) => (begins === undefined ? one === line : one.startsWith(begins)));
    if (found < 0) return `the line '${line}'`;
    lines.splice(0, found + 1);
  }
  return undefined;
}

/**
 * Whether the documents of the page are among those of the answer, in this order: a document is the same when every field
 * that the page shows is there with the same type of value, and every element of a list has one like it. The values
 * themselves are the page's own.
 *
 * @returns what is shown and not answered
 */
export function matchesJson(actual: string, shown: string): string | undefined {
  const documents = documentsOf(actual);
  for (const document of documentsOf(withoutGaps(shown))) {
    const problems = documents.map((one) => missingIn(one, document, ''));
    const found = problems.indexOf(undefined);
    if (found < 0)
      return problems[0] ?? `${JSON.stringify(document)}, and there is no such answer (any more)`;
    documents.splice(0, found + 1);
  }
  return undefined;
}

function documentsOf(text: string): unknown[] {
  return text
    .split(/^(?=\{)/m)
    .filter((part) => part.trim() !== '')
    .map((part) => JSON.parse(part) as unknown);
}

/** Takes out the lines that are `…`, and the comma that is then before a bracket. */
function withoutGaps(text: string): string {
  return text.replaceAll(/^\s*…,?\n/gm, '').replaceAll(/,(\s*[}\]])/g, '$1');
}

function missingIn(actual: unknown, shown: unknown, path: string): string | undefined {
  if (Array.isArray(shown)) {
    if (!Array.isArray(actual)) return `a list at '${path}'`;
    return first(shown, (element) =>
      actual.some((one) => missingIn(one, element, path) === undefined)
        ? undefined
        : `an element like ${JSON.stringify(element)} in '${path}'`,
    );
  }
  if (typeof shown === 'object' && shown !== null) {
    if (typeof actual !== 'object' || actual === null) return `an object at '${path}'`;
    return first(Object.entries(shown), ([name, value]) =>
      missingIn((actual as Record<string, unknown>)[name], value, `${path}.${name}`),
    );
  }
  return typeof actual === typeof shown ? undefined : `'${path}' as ${typeof shown}, not ${typeof actual}`;
}

function first<T>(items: readonly T[], problemOf: (item: T) => string | undefined): string | undefined {
  return items.map(problemOf).find((problem) => problem !== undefined);
}
