import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { rootCause } from './root-cause.js';

const lost = new SendenseError('nbd_connection_lost', 'lost');
const died = new SendenseError('nbdkit_died', 'nbdkit died: segfault');
const never = new Promise<SendenseError>(() => undefined);
const running = new AbortController().signal;

const suspects = (
  of: { died?: Promise<SendenseError>; lost?: Promise<SendenseError>; said?: string } = {},
) => ({
  source: { name: 'disk 2000 (a.vmdk)', died: of.died ?? never, stderrTail: () => of.said ?? '' },
  delivery: { lost: of.lost ?? never },
});

describe('why a copy broke off', () => {
  it('is the process or tunnel that a lost connection belonged to, even when that is seen later', async () => {
    const { promise, resolve } = Promise.withResolvers<SendenseError>();
    const cause = rootCause(lost, suspects({ died: promise }), running);
    setImmediate(() => resolve(died));
    expect(await cause).toBe(died);
    const cut = new SendenseError('tunnel_lost', 'cut');
    expect(await rootCause(lost, suspects({ lost: Promise.resolve(cut) }), running)).toBe(cut);
  });

  it('is the lost connection itself when nothing else explains it', async () => {
    expect(await rootCause(lost, suspects(), running)).toBe(lost);
  });

  it('is the error itself when it is no lost connection', async () => {
    const failed = new SendenseError('nbd_write_failed', 'no space');
    expect(await rootCause(failed, suspects({ died: Promise.resolve(died) }), running)).toBe(failed);
  });

  it('says what nbdkit said of a read that failed', async () => {
    const failed = new SendenseError('nbd_read_failed', 'reading 64 KiB at 0 failed', {
      context: { disk_key: 2000 },
    });
    const cause = await rootCause(
      failed,
      suspects({ said: 'nbdkit: error: command 51: NFC error 5; nbdkit: error: command 52: NFC error 5' }),
      running,
    );
    expect(cause).toMatchObject({
      code: 'nbd_read_failed',
      message: expect.stringMatching(
        /^disk 2000 \(a\.vmdk\) cannot be read: reading 64 KiB at 0 failed: NFC error 5; check that the node reaches/,
      ),
      context: { disk_key: '2000' },
    });
  });

  it('is the reason of the stop once the run was stopped', async () => {
    const stop = new AbortController();
    const reason = new SendenseError('cancelled', 'cancelled: by the user');
    stop.abort(reason);
    expect(await rootCause(lost, suspects({ died: Promise.resolve(died) }), stop.signal)).toBe(reason);
  });
});
