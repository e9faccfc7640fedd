import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What record.py wrote: see there. */
function recorded(name: string): Record<string, string> {
  const path = join(import.meta.dirname, '../../test/fixtures', name);
  return JSON.parse(readFileSync(path, 'utf8')) as Record<string, string>;
}

/** The requests that pyvmomi sends, by method. */
export const pyvmomiRequests = recorded('requests.json');

/** Values in pyvmomi's serialisation, by name. */
export const pyvmomiReplies = recorded('replies.json');
