import { describe, expect, it } from '@jest/globals';
import { BY_HAND, isStale, snapshotDescription, snapshotName } from './ownership.js';

const now = new Date('2026-11-21T03:00:00Z');
const madeBy = (nodeName: string, jobId = 'backup-pgtest1-20261120-220000', hoursAgo = 1) => ({
  moref: 'snapshot-7',
  name: snapshotName(jobId),
  description: snapshotDescription(jobId, nodeName),
  createdAt: new Date(now.getTime() - hoursAgo * 3_600_000),
});
const rule = { nodeName: 'sna1', runningJobs: () => [] as string[], now };

describe('which snapshots are swept', () => {
  it('takes those that this node left behind, at once', () => {
    expect(isStale(madeBy('sna1'), rule)).toBe(true);
  });

  it('leaves those of running jobs', () => {
    expect(isStale(madeBy('sna1'), { ...rule, runningJobs: () => ['backup-pgtest1-20261120-220000'] })).toBe(
      false,
    );
  });

  it('leaves those of another node, of a node whose name begins alike, and those made by hand, for a day', () => {
    for (const other of ['sna2', 'sna11', BY_HAND]) {
      expect(isStale(madeBy(other), rule)).toBe(false);
      expect(isStale(madeBy(other, 'job-1', 25), rule)).toBe(true);
    }
    expect(isStale(madeBy(BY_HAND), { ...rule, nodeName: BY_HAND })).toBe(false);
  });

  it("never takes somebody else's, however it is called", () => {
    const old = new Date(0);
    for (const [name, description] of [
      ['before update', ''],
      ['sendense-test', 'taken by the administrator'],
      ['nightly', snapshotDescription('job-1', 'sna1')],
    ] as const) {
      expect(isStale({ moref: 'snapshot-1', name, description, createdAt: old }, rule)).toBe(false);
    }
  });

  it('keeps names within what vCenter takes, and different jobs apart', () => {
    const long = `backup-${'a'.repeat(48)}-20261120-220000`;
    expect(snapshotName(long)).toBe(`sendense-${long}`);
    const [first, second] = [`${long}-123456`, `${long}-123457`].map(snapshotName);
    expect(first!.length).toBeLessThanOrEqual(80);
    expect(first).not.toBe(second);
  });
});
