import { describe, expect, it } from '@jest/globals';
import { SendenseError } from '@sendense/core';
import { rootCause } from './root-cause.js';

const lost = new SendenseError('nbd_connection_lost', 'lost');
const died = new SendenseError('nbdkit_died', 'nbdkit died: segfault');
const never = new Promise<SendenseError>(() => undefined);
const running = new AbortController().signal;

describe('why a copy broke off', () => {
  it('is the process or tunnel that a lost connection belonged to, even when that is seen later', async () => {
    const { promise, resolve } = Promise.withResolvers<SendenseError>();
    const cause = rootCause(lost, [never, promise], running);
    setImmediate(() => resolve(died));
    expect(await cause).toBe(died);
  });

  it('is the lost connection itself when nothing else explains it', async () => {
    expect(await rootCause(lost, [never], running)).toBe(lost);
  });

  it('is the error itself when it is no lost connection', async () => {
    const failed = new SendenseError('nbd_write_failed', 'no space');
    expect(await rootCause(failed, [Promise.resolve(died)], running)).toBe(failed);
  });

  it('is the reason of the stop once the run was stopped', async () => {
    const stop = new AbortController();
    const reason = new SendenseError('cancelled', 'cancelled: by the user');
    stop.abort(reason);
    expect(await rootCause(lost, [Promise.resolve(died)], stop.signal)).toBe(reason);
  });
});
