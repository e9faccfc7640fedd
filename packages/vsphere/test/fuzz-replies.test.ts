import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { SendenseError } from '@sendense/core';
import { requires } from '@sendense/runtime/testing';
import type { VSphereSession } from '../src/types.js';
import { moref, val, soap } from './answers.js';
import { connectTo } from './connect.js';
import { pyvmomiReplies } from './fixtures.js';
import { ScriptedVCenter } from './scripted-vcenter.js';

const describeScripted = requires(describe, 'openssl');

/** Codes that a damaged answer may end in: never `internal`, never something that is not ours. */
const EXPECTED = ['vcenter_protocol', 'vcenter_fault', 'changed_areas_invalid', 'vm_not_found', 'not_found'];

const objects = (content: string) =>
  soap(
    `<RetrievePropertiesExResponse xmlns="urn:vim25"><returnval>${content}</returnval></RetrievePropertiesExResponse>`,
  );

const object = (type: string, value: string, properties: Record<string, string>) =>
  `<objects>${moref('obj', type, value)}${Object.entries(properties)
    .map(([name, content]) => `<propSet><name>${name}</name>${content}</propSet>`)
    .join('')}</objects>`;

const vm = objects(
  object('VirtualMachine', 'vm-57', {
    name: val('xsd:string', 'pg &amp; test'),
    'config.instanceUuid': val('xsd:string', 'uuid'),
    'config.hardware.device': pyvmomiReplies['devices']!,
    snapshot: pyvmomiReplies['snapshots']!,
  }),
);
const snapshot = objects(
  object('VirtualMachineSnapshot', 'snapshot-3', { 'config.hardware.device': pyvmomiReplies['devices']! }),
);
const areas = soap(
  `<QueryChangedDiskAreasResponse xmlns="urn:vim25">${pyvmomiReplies['changed_areas']}</QueryChangedDiskAreasResponse>`,
);

/** What a broken server, proxy or memory makes of an answer. */
function damaged(document: string): fc.Arbitrary<string> {
  const at = fc.nat(document.length - 1);
  const scrap = fc.oneof(
    fc.string({ maxLength: 8 }),
    fc.constantFrom(
      '<',
      '>',
      '</a>',
      '<a>',
      '&',
      '&amp;',
      '-',
      '9'.repeat(30),
      'NaN',
      '\u0000',
      '<!DOCTYPE x>',
      'xsi:type="',
    ),
  );
  return fc.oneof(
    at.map((end) => document.slice(0, end)),
    fc
      .tuple(at, fc.integer({ min: 1, max: 80 }))
      .map(([start, length]) => document.slice(0, start) + document.slice(start + length)),
    fc
      .tuple(at, scrap)
      .map(([position, text]) => document.slice(0, position) + text + document.slice(position)),
    fc
      .tuple(at, scrap)
      .map(([position, text]) => document.slice(0, position) + text + document.slice(position + text.length)),
    // An element less, its content kept or not: well-formed, and wrong.
    fc
      .constantFrom(...elementNames(document))
      .chain((name) =>
        fc.constantFrom(
          document.replace(new RegExp(`<${name}(?: [^>]*)?>(.*?)</${name}>`, 's'), ''),
          document.replace(new RegExp(`<${name}(?: [^>]*)?>(.*?)</${name}>`, 's'), '$1'),
          document.replace(new RegExp(`(<${name}(?: [^>]*)?>).*?(</${name}>)`, 's'), '$1$2'),
          document.replace(new RegExp(`(<${name}(?: [^>]*)?>).*?(</${name}>)`, 's'), '$1<x/>$2'),
          document.replaceAll(`<${name}>`, '<x>').replaceAll(`</${name}>`, '</x>'),
        ),
      ),
  );
}

function elementNames(document: string): string[] {
  return [...new Set([...document.matchAll(/<([a-zA-Z_]+)[ >]/g)].map(([, name]) => name!))];
}

describeScripted('an answer that was damaged on its way', () => {
  let vcenter: ScriptedVCenter;
  let session: VSphereSession;
  beforeEach(async () => {
    vcenter = await ScriptedVCenter.start();
    session = await connectTo(vcenter);
  });
  afterEach(async () => {
    await session[Symbol.asyncDispose]();
    await vcenter[Symbol.asyncDispose]();
  });

  const request = {
    vmMoref: 'vm-57',
    snapshotMoref: 'snapshot-3',
    diskKey: 2000,
    changeId: '*',
    capacityBytes: 2 ** 20,
  };

  test.each<[string, string, string, () => Promise<unknown>]>([
    ['of a VM', 'RetrievePropertiesEx', vm, async () => session.listVirtualMachines({ moref: 'vm-57' })],
    ['of snapshots', 'RetrievePropertiesEx', vm, async () => session.snapshots('vm-57')],
    [
      'of the disks of a snapshot',
      'RetrievePropertiesEx',
      snapshot,
      async () => session.snapshotDisks('snapshot-3'),
    ],
    ['of changed areas', 'QueryChangedDiskAreas', areas, async () => session.changedAreas(request)],
  ])('%s gives a result or a clear error', async (_what, method, document, call) => {
    await fc.assert(
      fc.asyncProperty(damaged(document), async (raw) => {
        // A page that announces another, which is the same, would never end: the token is answered with an end.
        vcenter.on(method, { raw });
        try {
          await call();
        } catch (error) {
          if (!(error instanceof SendenseError)) throw error;
          expect(EXPECTED).toContain(error.code);
        }
      }),
      { numRuns: 150 },
    );
  });
});
