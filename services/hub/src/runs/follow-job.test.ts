import { describe, expect, it } from '@jest/globals';
import { Metadata, status } from '@grpc/grpc-js';
import { fromServiceError, type JobEvent, type RunBackupRequest } from '@sendense/contracts';
import { SendenseError } from '@sendense/core';
import { silentLogger } from '@sendense/runtime';
import type { NodeClient } from '../node-client.js';
import { followJob, isOutOfReach, whileReachable } from './follow-job.js';

type EventBody = NonNullable<JobEvent['event']>;
type Step = JobEvent | Error;

const warning: EventBody = { $case: 'warning', value: { code: 'x', message: 'x', context: {} } };
const progress: EventBody = { $case: 'progress', value: { disks: [] } };
const finished: EventBody = {
  $case: 'finished',
  value: { bytesRead: 0n, bytesWritten: 0n, bytesZeroed: 0n },
};
const event = (sequence: number, body: EventBody = warning): JobEvent => ({
  sequence: BigInt(sequence),
  at: new Date(),
  event: body,
});

function grpcError(code: status): SendenseError {
  const error = Object.assign(new Error('broken'), { code, details: 'broken', metadata: new Metadata() });
  return fromServiceError(error, 'RunBackup on node berlin');
}

/** A node whose streams are scripted, one after another. */
class ScriptedNode {
  readonly calls: string[] = [];

  constructor(private readonly streams: Step[][]) {}

  get client(): NodeClient {
    const play = (call: string) => {
      this.calls.push(call);
      return this.#play(this.streams.shift() ?? [new SendenseError('node_offline', 'away')]);
    };
    return {
      nodeName: 'berlin',
      runBackup: () => play('run'),
      watchJob: (_id: string, after: bigint) => play(`watch after ${after}`),
    } as Partial<NodeClient> as NodeClient;
  }

  async *#play(steps: Step[]): AsyncGenerator<JobEvent> {
    for (const step of steps) {
      if (step instanceof Error) throw step;
      yield step;
    }
  }
}

async function follow(streams: Step[][], o: { nodeLostMs?: number; unwanted?: AbortSignal } = {}) {
  const node = new ScriptedNode(streams);
  const seen: string[] = [];
  const options = {
    nodeLostMs: o.nodeLostMs ?? 5_000,
    signal: new AbortController().signal,
    unwanted: o.unwanted ?? new AbortController().signal,
    log: silentLogger,
  };
  let error: unknown;
  try {
    for await (const { sequence, event: body } of followJob(
      node.client,
      { jobId: 'j' } as RunBackupRequest,
      options,
    ))
      seen.push(`${sequence} ${body?.$case}`);
  } catch (thrown) {
    error = thrown;
  }
  return { seen, calls: node.calls, error };
}

describe('followJob', () => {
  it('yields the events until the job’s end', async () => {
    const { seen, calls } = await follow([[event(1), event(1, progress), event(2, finished), event(3)]]);
    expect(seen).toEqual(['1 warning', '1 progress', '2 finished']);
    expect(calls).toEqual(['run']);
  });

  it('asks for what it missed after the connection was lost, and takes nothing twice', async () => {
    const { seen, calls } = await follow([
      [event(1), event(2), grpcError(status.UNAVAILABLE)],
      [new SendenseError('node_offline', 'away')],
      [event(2), event(3), event(3, progress), grpcError(status.INTERNAL)],
      [event(4, finished)],
    ]);
    expect(seen).toEqual(['1 warning', '2 warning', '3 warning', '3 progress', '4 finished']);
    expect(calls).toEqual(['run', 'watch after 2', 'watch after 2', 'watch after 3']);
  });

  it('takes a stream that ends before the job as a lost one', async () => {
    const { seen } = await follow([[event(1)], [event(2, finished)]]);
    expect(seen).toEqual(['1 warning', '2 finished']);
  });

  it('starts the job again when nothing says that the node got to know it', async () => {
    const { calls } = await follow([[grpcError(status.UNAVAILABLE)], [event(1, finished)]]);
    expect(calls).toEqual(['run', 'run']);
  });

  it('does not start it any more when nobody wants it', async () => {
    const stop = AbortSignal.abort(new SendenseError('cancelled', 'no'));
    const { calls, error } = await follow([[event(1, finished)]], { unwanted: stop });
    expect(calls).toEqual([]);
    expect(error).toMatchObject({ code: 'cancelled' });
  });

  it('gives up when the node stays away', async () => {
    const { error, calls } = await follow([[event(1)]], { nodeLostMs: 2_000 });
    expect(error).toMatchObject({ code: 'node_lost', message: expect.stringContaining('berlin') });
    expect(calls.length).toBeGreaterThan(1);
  });

  it('gives up when the node came back without the job', async () => {
    const { error } = await follow([[event(1)], [new SendenseError('job_not_found', 'which job?')]]);
    expect(error).toMatchObject({ code: 'node_lost', message: expect.stringContaining('started anew') });
  });

  it('passes on an error of the node’s own at once', async () => {
    const { error, calls } = await follow([[new SendenseError('vm_not_found', 'no such VM')]]);
    expect(error).toMatchObject({ code: 'vm_not_found' });
    expect(calls).toEqual(['run']);
  });
});

describe('isOutOfReach', () => {
  it.each([status.UNAVAILABLE, status.INTERNAL, status.CANCELLED, status.DEADLINE_EXCEEDED, status.UNKNOWN])(
    'takes gRPC status %s without an error of the node for a lost connection',
    (code) => expect(isOutOfReach(grpcError(code))).toBe(true),
  );
  it('does not wait for a node that does not know the call', () => {
    expect(isOutOfReach(grpcError(status.UNIMPLEMENTED))).toBe(false);
  });
  it.each(['vm_not_found', 'internal', 'cancelled', 'timeout'] as const)(
    'takes %s of the node as its answer',
    (code) => expect(isOutOfReach(new SendenseError(code, 'x'))).toBe(false),
  );
});

describe('whileReachable', () => {
  it('tries again until the node answers', async () => {
    let tries = 0;
    const options = { nodeLostMs: 5_000, signal: new AbortController().signal, log: silentLogger };
    const answer = await whileReachable('berlin', options, async () => {
      if (++tries < 3) throw new SendenseError('node_offline', 'away');
      return 'here';
    });
    expect([answer, tries]).toEqual(['here', 3]);
  });
});
