import { errorCode, SendenseError, throwIfAborted } from '@sendense/core';
import { delay } from '@sendense/runtime';
import { isFault, readMethodFault } from '../soap/fault.js';
import { dataObject, reference, value, type ManagedObject } from '../soap/markup.js';
import { required, readReference, readText } from '../soap/values.js';
import type { XmlElement } from '../soap/xml.js';
import type { VimClient } from './client.js';
import { filterSpec, quietly, retrieveObject } from './properties.js';

/** How long vCenter holds back its answer while nothing happens. */
const LONG_POLL_SECONDS = 20;
const POLL_MS = 500;
/** A vCenter that drops a connection goes on with its task: how often in a row that is forgiven, and how soon. */
const MAX_LOST_CONNECTIONS = 3;
const RECONNECT_MS = 1000;

export interface TaskWait {
  /** For errors: `creating the snapshot of vm-57`. */
  readonly what: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/**
 * Waits until a task has ended and returns what it returned. The task itself is left alone, whatever ends the waiting.
 * @throws `vcenter_fault` of the task · `vcenter_task_timeout` · `cancelled`
 */
export async function waitForTask(
  client: VimClient,
  task: ManagedObject,
  wait: TaskWait,
): Promise<XmlElement | undefined> {
  const limit = new AbortController();
  const late = setTimeout(() => {
    limit.abort(
      new SendenseError(
        'vcenter_task_timeout',
        `${wait.what} took longer than ${wait.timeoutMs / 1000} s, and ${task.value} may still be running: look at it in vCenter`,
        { context: { endpoint: client.endpoint, task: task.value }, retryable: true },
      ),
    );
  }, wait.timeoutMs);
  const signal = wait.signal ? AbortSignal.any([limit.signal, wait.signal]) : limit.signal;
  await using watch = new TaskWatch(client, task);
  try {
    for (let lost = 0; ;) {
      try {
        const info = await readTask(client, task, signal);
        const state = readText(info.child('state'));
        if (state === 'success') return info.child('result');
        if (state === 'error') throw taskError(client, task, info, wait.what);
        await watch.untilItChanges(signal);
        lost = 0;
      } catch (error) {
        throwIfAborted(signal);
        if (errorCode(error) !== 'vcenter_unreachable' || ++lost > MAX_LOST_CONNECTIONS) throw error;
        await delay(RECONNECT_MS, signal);
      }
    }
  } finally {
    clearTimeout(late);
  }
}

async function readTask(client: VimClient, task: ManagedObject, signal: AbortSignal): Promise<XmlElement> {
  const properties = await retrieveObject(client, task, ['info'], signal);
  return required(properties.get('info'), `the state of ${task.value}`);
}

function taskError(client: VimClient, task: ManagedObject, info: XmlElement, what: string): SendenseError {
  const error = required(info.child('error'), `the error of ${task.value}`);
  return client.faultError(readMethodFault(error), what, { task: task.value });
}

interface Watcher {
  readonly collector: ManagedObject;
  version: string;
}

/**
 * Wakes up when the state of a task may have changed. It waits in a property collector of its own, because those of one
 * session disturb each other; where the server has no such thing, it wakes up from time to time.
 */
class TaskWatch implements AsyncDisposable {
  #watcher: Watcher | undefined;
  #polling = false;

  constructor(
    private readonly client: VimClient,
    private readonly task: ManagedObject,
  ) {}

  async untilItChanges(signal: AbortSignal): Promise<void> {
    if (this.#polling) return delay(POLL_MS, signal);
    try {
      this.#watcher ??= await this.#open(signal);
      await this.#wait(this.#watcher, signal);
    } catch (error) {
      if (errorCode(error) !== 'vcenter_fault') throw error;
      // A collector goes with its session. Reading the task logs in again, and the next wait opens another.
      const expired = isFault(error, 'NotAuthenticated', 'ManagedObjectNotFound', 'InvalidCollectorVersion');
      if (!expired)
        this.client.log.debug({ error: String(error) }, 'vCenter cannot wait for updates, polling instead');
      this.#watcher = undefined;
      this.#polling = !expired;
      await delay(POLL_MS, signal);
    }
  }

  async #open(signal: AbortSignal): Promise<Watcher> {
    const { propertyCollector } = this.client.service;
    return this.client.withinSession(async (send) => {
      const [created] = await send('CreatePropertyCollector', propertyCollector, [], { signal });
      const collector = required(readReference(created), 'the new property collector');
      const spec = filterSpec(
        'spec',
        'Task',
        ['info.state'],
        [dataObject('objectSet', [reference('obj', this.task), value('skip', false)])],
      );
      await send('CreateFilter', collector, [spec, value('partialUpdates', false)], { signal });
      return { collector, version: '' };
    }, signal);
  }

  /** The first call answers at once with the state of the moment: nothing between reading and waiting is missed. */
  async #wait(watcher: Watcher, signal: AbortSignal): Promise<void> {
    const parameters = [
      value('version', watcher.version),
      dataObject('options', [value('maxWaitSeconds', LONG_POLL_SECONDS)]),
    ];
    const timeoutMs = this.client.timeoutMs + LONG_POLL_SECONDS * 1000;
    const [update] = await this.client.call('WaitForUpdatesEx', watcher.collector, parameters, {
      signal,
      timeoutMs,
    });
    watcher.version = readText(update?.child('version')) ?? watcher.version;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#watcher) return;
    const call = this.client.call('DestroyPropertyCollector', this.#watcher.collector, [], {
      timeoutMs: 2000,
    });
    await quietly(this.client, call);
  }
}
