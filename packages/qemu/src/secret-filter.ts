const ASSIGNMENT = /\b(password|passwd|pwd|cookie|session|ticket|token)\b\s*[=:]\s*\S/i;

/**
 * What may be shown of a tool's stderr: lines that hold the secret, or look as if they assigned one, are dropped.
 * "incorrect user name or password" stays: it is the reason that people look for.
 */
export function secretFilter(secret: string): (line: string) => string | undefined {
  const forms = [secret, encodeURIComponent(secret), escapeXml(secret)].filter((form) => form !== '');
  return (line) => (forms.some((form) => holds(line, form)) || ASSIGNMENT.test(line) ? undefined : line);
}

/** A very short secret counts only as a word of its own: it would be found in every line. */
function holds(line: string, form: string): boolean {
  if (form.length >= 4) return line.includes(form);
  return line.split(/[\s'"]+/).includes(form);
}

function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&apos;');
}
