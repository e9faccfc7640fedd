import { existsSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { describe, expect, it } from '@jest/globals';
import { requires } from '@sendense/runtime/testing';
import { Model, type ModelDisk, type ModelPoint } from './model.js';
import { Random } from './random.js';
import { sequenceOf } from './sequence.js';
import { describeFailure, soak } from './soak.js';

/** As many as fit into some minutes; `./dev soak` takes it further. */
const STEPS = 8;

const HAPPENINGS = [
  ...['backups completed', 'backups cancelled', 'backups failed', 'removals', 'removals refused'],
  ...['merges by commit', 'merges by pull', 'crashes of a backup', 'crashes of a removal'],
  ...['full verifications', 'quick verifications', 'damage found', 'lies of change tracking found'],
];

requires(
  describe,
  'qemu-nbd',
  'qemu-img',
)('restore points under random sequences of steps', () => {
  it('show what the model remembers after each step, are in doubt as it has them, and leave nothing else behind', async () => {
    const { results, failures, counts } = await soak(
      {
        ...{ sequences: 200, seed: 1, steps: STEPS, jobs: availableParallelism() },
        directory: existsSync('/dev/shm') ? '/dev/shm' : tmpdir(),
        ...{ shrink: false, verbose: false },
      },
      () => undefined,
    );
    expect(failures.map((failure) => describeFailure(failure, STEPS)).join('\n')).toBe('');
    expect(results).toHaveLength(200);
    // It proves nothing about what did not happen.
    expect(HAPPENINGS.filter((what) => counts[what] === undefined)).toEqual([]);
  }, 1_800_000);
});

describe('a sequence', () => {
  it('is the same for the same seed, and the beginning of a longer one', () => {
    expect(sequenceOf(7, 10)).toEqual(sequenceOf(7, 10));
    expect(sequenceOf(7, 20).steps.slice(0, 10)).toEqual(sequenceOf(7, 10).steps);
    expect(sequenceOf(8, 10)).not.toEqual(sequenceOf(7, 10));
  });

  it('draws every number of a range', () => {
    const random = new Random(1);
    const drawn = new Set(Array.from({ length: 1000 }, () => random.between(3, 6)));
    expect(drawn).toEqual(new Set([3, 4, 5, 6]));
  });
});

describe('the model', () => {
  const disk = (parent?: string): ModelDisk => ({
    ...{ key: 2000, backingUuid: 'uuid', sizeBytes: 4, content: Buffer.from('data') },
    parent,
  });
  const point = (id: string, parent?: string): ModelPoint => ({
    ...{ id, disks: [disk(parent)], suspect: false, held: false },
  });
  const chain = () => {
    const model = new Model();
    model.points = [point('a'), point('b', 'a'), point('c', 'b'), point('d')];
    return model;
  };

  it('gives a removed point’s place to the one on it', () => {
    const model = chain();
    model.remove('b');
    expect(model.chain('c', 2000).map(({ id }) => id)).toEqual(['c', 'a']);
    model.remove('a');
    expect(model.chain('c', 2000).map(({ id }) => id)).toEqual(['c']);
  });

  it('knows who reads through an image', () => {
    const through = chain().through('b', 2000);
    expect(through.map(({ id }) => id)).toEqual(['b', 'c']);
  });

  it('merges nothing that is in doubt, and removes nothing that is held', () => {
    const model = chain();
    model.get('c').suspect = true;
    model.get('d').held = true;
    expect(['a', 'b', 'c', 'd'].map((id) => model.refusal(id))).toEqual([
      ...[undefined, 'restore_point_suspect', undefined, 'restore_point_held'],
    ]);
  });

  it('does not count what is in doubt when it keeps the last', () => {
    const model = chain();
    model.get('c').suspect = true;
    expect(model.toPrune(2).map(({ id }) => id)).toEqual(['a']);
    expect(model.toPrune(4)).toEqual([]);
  });
});
