import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { execa } from 'execa';

const CHECKOUT = resolve(import.meta.dirname, '../../../..');

/** Names and defaults, as the program's --help has them: `SENDENSE_NAME  what it is (default)`. */
async function settingsOf(program: string): Promise<Map<string, string | undefined>> {
  const { stdout } = await execa(join(CHECKOUT, 'bin', program), ['--help']);
  const rows = [...stdout.matchAll(/^ {2}(SENDENSE_\w+) .*?(?:\((?:default: )?([^()]*)\))?$/gm)];
  return new Map(rows.map(([, name = '', standard]) => [name, standard]));
}

/** A unit as it is installed. */
function unitOf(role: string, name: string): string {
  const read = (file: string) => readFileSync(join(CHECKOUT, 'deploy/packages', file), 'utf8');
  return read(`${role}/${name}.service`).replace('@common@', read('common.service'));
}

/** What a settings file shows, commented out. */
function shownIn(file: string): Map<string, string> {
  const text = readFileSync(join(CHECKOUT, 'deploy/packages', file), 'utf8');
  expect(text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))).toEqual([]);
  const rows = [...text.matchAll(/^#(SENDENSE_\w+)=(.*)$/gm)];
  return new Map(rows.map(([, name = '', value = '']) => [name, value]));
}

/** Depend on the machine, or the description of the setting has brackets of its own. */
const NOT_COMPARED = new Set(['SENDENSE_TUNNEL_WORKERS']);

describe.each([
  ['sendense-hub', 'hub'],
  ['sendense-node', 'node'],
])('the unit of %s', (program, role) => {
  it('leaves the program the time to end by itself when it cannot stop in order', async () => {
    const own = Number((await settingsOf(program)).get('SENDENSE_STOP_SECONDS'));
    const [, systemds] = /^TimeoutStopSec=(\d+)s$/m.exec(unitOf(role, program)) ?? [];
    expect(own).toBeGreaterThan(0);
    expect(Number(systemds)).toBeGreaterThanOrEqual(own + 10);
  });
});

describe.each([
  ['sendense-hub', 'hub/hub.env'],
  ['sendense-node', 'node/node.env'],
])('the settings file of %s', (program, file) => {
  it('has every setting with its default, and nothing is set', async () => {
    const known = await settingsOf(program);
    known.delete('SENDENSE_CONFIG_FILE');
    const shown = shownIn(file);
    expect([...shown.keys()].toSorted()).toEqual([...known.keys()].toSorted());
    for (const [name, value] of shown) {
      const standard = known.get(name);
      const hasNone = standard === undefined || value === '';
      if (!NOT_COMPARED.has(name) && !hasNone) expect(`${name}=${value}`).toBe(`${name}=${standard}`);
      if (value !== '') expect(`${name} ${standard !== undefined}`).toBe(`${name} true`);
    }
  });
});
