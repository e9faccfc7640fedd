import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { EnableChangeTrackingRequest, type EnableChangeTrackingResponse } from '@sendense/contracts';
import type { LabVm, VmSpec } from '@sendense/lab';
import { requires } from '@sendense/runtime/testing';
import { LAB_TOOLS } from './lab-stage.js';
import { MIB, NodeStage } from './node-stage.js';

let at: NodeStage;

requires(describe, ...LAB_TOOLS)('a node that is asked to enable changed block tracking', () => {
  beforeAll(async () => {
    at = await NodeStage.start();
  });
  afterAll(async () => {
    await at[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    await at.expectNothingLeft();
  });

  let vms = 0;
  function newVm(spec: Partial<VmSpec> = {}): Promise<LabVm> {
    const disks = [{ sizeBytes: MIB }, { sizeBytes: MIB, controller: 'scsi1' as const }];
    return at.lab.createVm({ name: `vm ${++vms}`, disks, ...spec });
  }

  async function enable(vm: LabVm, change: Partial<EnableChangeTrackingRequest> = {}) {
    const request = EnableChangeTrackingRequest.fromPartial({
      vcenter: at.vcenter(),
      vmMoref: vm.moref,
      vmInstanceUuid: vm.instanceUuid,
      vmName: vm.name,
      ...change,
    });
    const { changeTracking } = await at.client.call<EnableChangeTrackingResponse>((answer) =>
      at.client.grpc.enableChangeTracking(request, answer),
    );
    return changeTracking;
  }
  const disksOf = (vm: LabVm) => at.lab.vm(vm.moref).disks;
  const tracked = (vm: LabVm) => disksOf(vm).map(({ changeId }) => changeId !== undefined);

  it('enables it and starts it by one snapshot of its own, which it removes', async () => {
    const vm = await newVm();
    expect(await enable(vm)).toEqual({ enabled: true, outcome: 'enabled_now' });
    expect(at.lab.vm(vm.moref).changeTrackingEnabled).toBe(true);
    expect(tracked(vm)).toEqual([true, true]);
    expect(at.lab.snapshotHistory(vm.moref)).toEqual({ created: 1, removed: 1 });
    expect(at.lab.snapshots(vm.moref)).toEqual([]);
    // So that the very next snapshot has changeIds.
    const { disks, moref } = await at.lab.createSnapshot(vm.moref, { name: 'next' });
    expect(disks.every(({ changeId }) => changeId !== undefined)).toBe(true);
    await at.lab.removeSnapshot(vm.moref, moref);
  });

  it('does nothing where it runs already, snapshots or not', async () => {
    const vm = await newVm({ changeTrackingEnabled: true });
    const before = disksOf(vm);
    expect(await enable(vm)).toEqual({ enabled: true, outcome: 'already_enabled' });
    expect(disksOf(vm)).toEqual(before);
    await at.lab.createSnapshot(vm.moref, { name: 'by the administrator' });
    expect(await enable(vm)).toEqual({ enabled: true, outcome: 'already_enabled' });
    expect(at.lab.snapshotHistory(vm.moref)).toEqual({ created: 1, removed: 0 });
  });

  it('only starts it where it is enabled and has never run, and does not ask it of disks that no snapshot holds', async () => {
    const vm = await newVm({
      disks: [{ sizeBytes: MIB }, { sizeBytes: MIB, mode: 'independent_persistent' }],
      changeTrackingEnabled: true,
    });
    await at.lab.addDisk(vm.moref, { sizeBytes: MIB });
    expect(tracked(vm)).toEqual([true, false, false]);
    expect(await enable(vm)).toEqual({ enabled: true, outcome: 'started_now' });
    expect(tracked(vm)).toEqual([true, false, true]);
    expect(await enable(vm)).toEqual({ enabled: true, outcome: 'already_enabled' });
    expect(at.lab.snapshotHistory(vm.moref)).toEqual({ created: 1, removed: 1 });
  });

  it('refuses a VM that has snapshots, and leaves them and the VM as they are', async () => {
    const off = await newVm();
    const half = await newVm({ changeTrackingEnabled: true });
    await at.lab.addDisk(half.moref, { sizeBytes: MIB });
    for (const vm of [off, half]) {
      const taken = await at.lab.createSnapshot(vm.moref, { name: 'before update' });
      if (vm === half) await at.lab.addDisk(vm.moref, { sizeBytes: MIB });
      expect(await enable(vm)).toEqual({ enabled: false, outcome: 'snapshots_exist' });
      expect(at.lab.snapshots(vm.moref)).toEqual([taken]);
    }
    expect(at.lab.vm(off.moref).changeTrackingEnabled).toBe(false);
  });

  it('is not kept from it by a snapshot that an earlier attempt left', async () => {
    const vm = await newVm();
    at.lab.setFault({ operation: 'RemoveSnapshot_Task', fault: 'InvalidPowerState', vm: vm.moref });
    await expect(enable(vm)).rejects.toMatchObject({ code: 'snapshot_remove_failed' });
    const [left] = at.lab.snapshots(vm.moref);
    expect(left).toMatchObject({
      name: expect.stringMatching(/^sendense-change-tracking-/),
      description: expect.stringMatching(/^Sendense backup, job change-tracking-\S+, node sna1\. /),
      quiesced: false,
    });
    at.lab.clearFaults();
    await at.lab.addDisk(vm.moref, { sizeBytes: MIB });
    expect(await enable(vm)).toEqual({ enabled: true, outcome: 'started_now' });
    expect(at.lab.snapshots(vm.moref)).toEqual([]);
  });

  it('refuses a VM that cannot have it', async () => {
    const unable = await newVm({ changeTrackingSupported: false });
    const old = await newVm({ hardwareVersion: 'vmx-04' });
    for (const vm of [unable, old]) {
      expect(await enable(vm)).toEqual({ enabled: false, outcome: 'not_supported' });
      expect(at.lab.snapshotHistory(vm.moref)).toEqual({ created: 0, removed: 0 });
    }
  });

  it('does not touch another VM that has the moref now, and asks for the instance UUID', async () => {
    const vm = await newVm();
    const vmInstanceUuid = '50000000-0000-0000-0000-000000000000';
    await expect(enable(vm, { vmInstanceUuid })).rejects.toMatchObject({ code: 'vm_not_found' });
    await expect(enable(vm, { vmInstanceUuid: '' })).rejects.toMatchObject({
      code: 'invalid_argument',
      context: { field: 'vm_instance_uuid' },
    });
    expect(at.lab.vm(vm.moref).changeTrackingEnabled).toBe(false);
  });

  it('leaves no snapshot when the answer to its creation or removal is lost, or a removal fails at first', async () => {
    const faults = [
      { operation: 'CreateSnapshot_Task', stage: 'call', drop: 'after', times: 1 },
      { operation: 'RemoveSnapshot_Task', stage: 'call', drop: 'after', times: 1 },
      { operation: 'RemoveSnapshot_Task', fault: 'TaskInProgress', times: 1 },
      { operation: 'consolidate', times: 1 },
    ] as const;
    const outcomes: (string | undefined)[] = [];
    for (const fault of faults) {
      const vm = await newVm();
      at.lab.setFault({ ...fault, vm: vm.moref });
      outcomes.push(
        await enable(vm).then(
          (tracking) => tracking?.outcome,
          (error: { code: string }) => error.code,
        ),
      );
      at.lab.clearFaults();
      const { snapshots, consolidationNeeded } = {
        snapshots: at.lab.snapshots(vm.moref),
        consolidationNeeded: at.lab.vm(vm.moref).consolidationNeeded,
      };
      expect({ fault, snapshots, consolidationNeeded }).toEqual({
        fault,
        snapshots: [],
        consolidationNeeded: false,
      });
    }
    expect(outcomes).toEqual(['vcenter_unreachable', 'enabled_now', 'enabled_now', 'enabled_now']);
  });

  it('says that the snapshot could not be taken', async () => {
    const vm = await newVm();
    at.lab.setFault({ operation: 'CreateSnapshot_Task', fault: 'FileFault', vm: vm.moref });
    await expect(enable(vm)).rejects.toMatchObject({ code: 'snapshot_create_failed' });
  });
});
