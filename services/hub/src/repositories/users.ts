import { readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';

/** `sendense (998)`, or the number alone when the user has no name here. */
export async function describeUser(uid: number): Promise<string> {
  const name = await userName(uid);
  return name === undefined ? `uid ${uid}` : `${name} (uid ${uid})`;
}

/** The user that this process works as, for a command line. */
export function ownUser(): { readonly uid: number; readonly gid: number; readonly name: string } {
  const uid = process.geteuid?.() ?? 0;
  const gid = process.getegid?.() ?? 0;
  try {
    return { uid, gid, name: userInfo().username };
  } catch {
    return { uid, gid, name: String(uid) }; // A uid without an entry in passwd, as in containers.
  }
}

async function userName(uid: number): Promise<string | undefined> {
  const lines = await readFile('/etc/passwd', 'utf8').catch(() => '');
  return lines
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => fields[2] === String(uid))?.[0];
}

/** One argument of a shell command, to be pasted as it is. */
export function shellQuote(argument: string): string {
  if (/^[A-Za-z0-9_/.:=@%+-]+$/.test(argument)) return argument;
  return `'${argument.replaceAll("'", `'\\''`)}'`;
}
