import { describe, expect, it } from '@jest/globals';
import { eventually } from '@sendense/runtime/testing';
import { eventStream, type StreamedEvent } from './event-stream.js';

const event = (id: number): StreamedEvent => ({ id, event: 'state', data: { state: `s${id}` } });

async function text(stream: AsyncIterable<unknown>): Promise<string> {
  let all = '';
  for await (const chunk of stream) all += String(chunk);
  return all;
}

/** Events that are handed in one by one, and that end with a signal as those of a backup do. */
function source(signal: AbortSignal) {
  const waiting = {
    asked: false,
    released: 0,
    resolve: undefined as ((event: StreamedEvent) => void) | undefined,
  };
  async function* events(): AsyncGenerator<StreamedEvent> {
    try {
      for (;;) {
        const next = await new Promise<StreamedEvent | undefined>((resolve) => {
          waiting.asked = true;
          waiting.resolve = resolve;
          signal.addEventListener('abort', () => resolve(undefined), { once: true });
        });
        if (next === undefined) return;
        yield next;
      }
    } finally {
      waiting.released += 1;
    }
  }
  return { waiting, events: events() };
}

describe('a stream of events', () => {
  it('is numbered, and ends with its source', async () => {
    async function* two() {
      yield event(1);
      yield event(7);
    }
    expect(await text(eventStream(two(), new AbortController().signal))).toBe(
      'retry: 2000\n\n' +
        'id: 1\nevent: state\ndata: {"state":"s1"}\n\n' +
        'id: 7\nevent: state\ndata: {"state":"s7"}\n\n',
    );
  });

  it('shows a sign of life when nothing happens, and loses no event over it', async () => {
    const stop = new AbortController();
    const { waiting, events } = source(stop.signal);
    const stream = eventStream(events, stop.signal, 10);
    let seen = '';
    stream.on('data', (chunk) => (seen += String(chunk)));
    await eventually('two heartbeats', () => seen.split(': still here').length > 2);
    waiting.resolve!(event(3));
    await eventually('the event', () => seen.includes('id: 3\n'));
    stop.abort();
    await eventually('the end', () => stream.readableEnded);
  });

  it('leaves nothing waiting when the client goes', async () => {
    const gone = new AbortController();
    const { waiting, events } = source(gone.signal);
    const stream = eventStream(events, gone.signal);
    let opened = false;
    stream.on('data', () => (opened = true));
    await eventually('it waits', () => opened && waiting.asked);
    gone.abort();
    stream.destroy();
    await eventually('the source is released', () => waiting.released === 1);
  });

  it('breaks off when its source fails, instead of ending as if all were told', async () => {
    async function* failing() {
      yield event(1);
      throw new Error('lost');
    }
    await expect(text(eventStream(failing(), new AbortController().signal))).rejects.toThrow('lost');
  });
});
