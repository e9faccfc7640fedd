import type { LabContext } from '../context.js';
import type { Faults, StruckFault } from '../faults.js';
import type { VmState } from '../model/state.js';
import { VimFault, notAuthenticated, objectNotFound } from '../soap/fault.js';
import { reference, text, type Reference, type Value } from '../soap/value.js';
import type { Call, Method, Methods } from './call.js';
import { Changes } from './changes.js';
import { entityMethods } from './entity-methods.js';
import { inventoryObject } from './inventory-objects.js';
import type { ManagedObject, ObjectSource } from './objects.js';
import { Continuations, retrieveMethods } from './property-collector.js';
import { Collector, collectorObject, filterMethods, propertyFilterMethods } from './property-filters.js';
import { searchIndexMethods } from './search-index.js';
import { anonymousMethods, serviceObject, sessionManagerMethods } from './service-objects.js';
import { Sessions, type Session } from './sessions.js';
import { snapshotMethods } from './snapshot-methods.js';
import { describeTask, Tasks } from './tasks.js';
import { viewManagerMethods, viewManagerObject, viewMethods, viewObject, type View } from './views.js';
import { virtualMachineMethods } from './vm-methods.js';
import { snapshotObject, vmObject } from './vm-object.js';

export const DEFAULT_COLLECTOR = 'propertyCollector';

/** The methods of each type of object. */
const METHODS: Record<string, Methods> = {
  SessionManager: sessionManagerMethods,
  PropertyCollector: { ...retrieveMethods, ...filterMethods },
  PropertyFilter: propertyFilterMethods,
  ViewManager: viewManagerMethods,
  ContainerView: viewMethods,
  SearchIndex: searchIndexMethods,
  VirtualMachine: virtualMachineMethods,
  VirtualMachineSnapshot: snapshotMethods,
};

/** What belongs to a session and ends with it. */
interface SessionObjects {
  readonly views: Map<string, View>;
  readonly collectors: Map<string, Collector>;
}

export interface VimServiceOptions {
  readonly context: LabContext;
  readonly faults: Faults;
  readonly credentials: { readonly username: string; readonly password: string };
  readonly taskDurationMs: number;
  readonly sessionIdleMs: number;
}

/** The objects of the simulated vCenter and the calls of their methods, whatever carries them. */
export class VimService {
  readonly context: LabContext;
  readonly faults: Faults;
  readonly credentials: { readonly username: string; readonly password: string };
  readonly sessions: Sessions;
  readonly tasks: Tasks;
  readonly changes = new Changes();
  readonly continuations = new Continuations();
  /** The task that works on a VM now, by the VM's moref. */
  readonly busy = new Map<string, string>();
  readonly operations: Record<string, number> = {};
  readonly #stop = new AbortController();
  readonly #sessionObjects = new WeakMap<Session, SessionObjects>();
  #nextSessionObject = 1;

  constructor(options: VimServiceOptions) {
    this.context = options.context;
    this.faults = options.faults;
    this.credentials = options.credentials;
    this.sessions = new Sessions(options.sessionIdleMs);
    this.tasks = new Tasks(options.taskDurationMs, () => this.changes.notify(), options.context.log);
  }

  /** Aborted when the lab stops: nobody waits any longer. */
  get stopping(): AbortSignal {
    return this.#stop.signal;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.tasks.settled();
  }

  /**
   * Runs the method of a call.
   * @throws VimFault
   */
  async run(
    call: Omit<Call, 'session'> & { readonly session: Session | undefined },
  ): Promise<Value | undefined> {
    const { method, target, session } = call;
    const anonymous = anonymousMethods[method];
    if (anonymous && (!session || target.type === 'ServiceInstance')) return anonymous(call);
    if (!session) throw notAuthenticated(target);
    if (!this.objects(session).find(target.moref) && target.type !== 'PropertyFilter') {
      throw objectNotFound(target.type, target.moref);
    }
    return this.#methodOf(target, method)({ ...call, session });
  }

  #methodOf(target: Reference, method: string): Method {
    const methods = METHODS[target.type];
    const found =
      (methods && Object.hasOwn(methods, method) ? methods[method] : undefined) ?? entityMethods[method];
    if (found) return found;
    throw new VimFault(
      'MethodNotFound',
      `The lab does not simulate the method ${method} of ${target.type}.`,
      {
        receiver: target,
        method: text(method),
      },
    );
  }

  /** The objects that somebody sees. */
  objects(session: Session | undefined): ObjectSource {
    return { find: (moref) => this.#find(session, moref) };
  }

  #find(session: Session | undefined, moref: string): ManagedObject | undefined {
    const { state } = this.context;
    const fixed = serviceObject(this, session, moref) ?? inventoryObject(state, moref);
    if (fixed) return fixed;
    for (const vm of state.vms) {
      if (vm.moref === moref) {
        const recent = () => this.tasks.recentOf(moref).map((task) => reference('Task', task.moref));
        return vmObject(state, vm, recent);
      }
      const snapshot = vm.snapshots.find((candidate) => candidate.moref === moref);
      if (snapshot) return snapshotObject(state, vm, snapshot);
    }
    const task = this.tasks.find(moref);
    if (task) return { type: 'Task', moref, properties: { info: () => describeTask(task) } };
    if (!session) return undefined;
    if (moref === 'ViewManager') return viewManagerObject([...this.viewsOf(session).values()]);
    const view = this.viewsOf(session).get(moref);
    if (view) return viewObject(this.objects(session), view);
    const collector = this.collector(session, moref);
    return collector && collectorObject(collector);
  }

  /** The VM that a call is about, if it is about one. */
  vmOf(target: Reference): VmState | undefined {
    return this.context.state.vms.find(
      (vm) => vm.moref === target.moref || vm.snapshots.some((snapshot) => snapshot.moref === target.moref),
    );
  }

  /** The faults that a call runs into, counted as having struck. */
  strike(operation: string, target: Reference, diskKey?: number): StruckFault[] {
    return this.faults.strike(operation, { vm: this.vmOf(target)?.moref, diskKey });
  }

  newSessionObject(): string {
    return `session[${this.context.state.instanceUuid.slice(0, 8)}]${this.#nextSessionObject++}`;
  }

  viewsOf(session: Session): Map<string, View> {
    return this.#objectsOf(session).views;
  }

  collector(session: Session, moref: string): Collector | undefined {
    return this.#objectsOf(session).collectors.get(moref);
  }

  collectorsOf(session: Session): Collector[] {
    return [...this.#objectsOf(session).collectors.values()];
  }

  newCollector(session: Session): Collector {
    const collector = new Collector(this.newSessionObject(), session.key);
    this.#objectsOf(session).collectors.set(collector.moref, collector);
    return collector;
  }

  dropCollector(session: Session, collector: Collector): void {
    this.#objectsOf(session).collectors.delete(collector.moref);
  }

  #objectsOf(session: Session): SessionObjects {
    let objects = this.#sessionObjects.get(session);
    if (!objects) {
      const collector = new Collector(DEFAULT_COLLECTOR, session.key);
      objects = { views: new Map(), collectors: new Map([[DEFAULT_COLLECTOR, collector]]) };
      this.#sessionObjects.set(session, objects);
    }
    return objects;
  }
}
