import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { requires } from '@sendense/runtime/testing';
import { parseXml, type XmlElement } from '../src/soap/xml.js';
import { val, values } from './answers.js';
import { connectTo } from './connect.js';
import { pyvmomiRequests } from './fixtures.js';
import { ScriptedVCenter } from './scripted-vcenter.js';

const describeScripted = requires(describe, 'openssl');

/**
 * The shape of a request: names in their order, types of references, and the types that a base type needs. vCenter
 * ignores an `xsi:type` that repeats the declared type, so only the one that says more counts.
 */
function shape(element: XmlElement): unknown {
  const type = element.xsiType === 'TraversalSpec' ? 'TraversalSpec' : undefined;
  const content = element.children.length > 0 ? element.children.map(shape) : undefined;
  return [element.name, element.referenceType, type, content];
}

/** How many paths are asked for is not pyvmomi's business: one stands for any number. */
function comparable(element: XmlElement): string {
  return JSON.stringify(shape(element)).replace(/(?:\["pathSet",null,null,null\],?)+/g, 'paths');
}

/** Recorded without the envelope that declares it. */
function withNamespace(recorded: string): string {
  return recorded.replace(' xmlns=', ' xmlns:xsi="i" xmlns=');
}

describeScripted('requests are, element for element, those of pyvmomi', () => {
  let vcenter: ScriptedVCenter;
  const sent = new Map<string, XmlElement[]>();

  beforeEach(async () => {
    vcenter = await ScriptedVCenter.start();
  });
  afterEach(async () => {
    await vcenter[Symbol.asyncDispose]();
  });

  /** Goes through every call once and keeps what was sent. */
  async function everyCall(): Promise<void> {
    for (let vm = 0; vm < 150; vm++) {
      const properties = {
        name: val('xsd:string', 'x'),
        'capability.changeTrackingSupported': val('xsd:boolean', 'true'),
        'config.version': val('xsd:string', 'vmx-19'),
        'runtime.consolidationNeeded': val('xsd:boolean', 'true'),
      };
      vcenter.objects.set(`vm-${vm}`, { type: 'VirtualMachine', properties });
    }
    vcenter.on('FindByUuid', values()).on('FindByInventoryPath', values());
    vcenter
      .on('ReconfigVM_Task', vcenter.done('task-1'))
      .on('ConsolidateVMDisks_Task', vcenter.done('task-2'));
    vcenter.on('RemoveSnapshot_Task', vcenter.done('task-3'));
    vcenter.on(
      'QueryChangedDiskAreas',
      values('<returnval><startOffset>0</startOffset><length>1</length></returnval>'),
    );
    const stop = new AbortController();
    vcenter.on('CreateSnapshot_Task', () => {
      stop.abort();
      return vcenter.running('task-5');
    });
    vcenter.on('WaitForUpdatesEx', (request) => {
      vcenter.done('task-6');
      return vcenter.builtIn(request.method, request);
    });
    vcenter.on('CancelTask', () => {
      vcenter.failed('task-5', 'RequestCanceled', 'canceled');
      return values();
    });

    {
      await using session = await connectTo(vcenter);
      await session.listVirtualMachines();
      await session.listVirtualMachines({ instanceUuid: 'u' });
      await session.listVirtualMachines({ inventoryPath: 'DC0/vm/pgtest1' });
      await session.enableChangeTracking('vm-1');
      const request = { name: 'sendense-job-1', description: 'of job-1 <node-1>', quiesce: false };
      await session.createSnapshot('vm-1', request, stop.signal).catch(() => undefined);
      const areas = { vmMoref: 'vm-1', snapshotMoref: 'snapshot-90', diskKey: 2000, changeId: '*' };
      await session.changedAreas({ ...areas, capacityBytes: 1 });
      vcenter.on('RemoveSnapshot_Task', vcenter.running('task-6'));
      await session.removeSnapshot('snapshot-90');
      await session.consolidateIfNeeded('vm-1');
    }
    for (const { method, element } of vcenter.requests)
      sent.set(method, [...(sent.get(method) ?? []), element]);
  }

  test('all of them', async () => {
    await everyCall();
    expect([...sent.keys()].sort()).toEqual(Object.keys(pyvmomiRequests).sort());
    for (const [method, recorded] of Object.entries(pyvmomiRequests)) {
      expect(sent.get(method)!.map(comparable)).toContain(comparable(parseXml(withNamespace(recorded))));
    }
  });

  test('a removal names one snapshot, keeps its children and consolidates', async () => {
    vcenter.on('RemoveSnapshot_Task', vcenter.done('task-1'));
    await using session = await connectTo(vcenter);
    await session.removeSnapshot('snapshot-90');
    const removal = vcenter.requests.find((request) => request.method === 'RemoveSnapshot_Task')!;
    expect(removal.element.children.map((child) => [child.name, child.text])).toEqual([
      ['_this', 'snapshot-90'],
      ['removeChildren', 'false'],
      ['consolidate', 'true'],
    ]);
    expect(removal.headers['soapaction']).toMatch(/^"urn:vim25\//);
    expect(removal.headers['content-type']).toMatch(/^text\/xml/);
  });
});
