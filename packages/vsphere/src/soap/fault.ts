import { printable, SendenseError } from '@sendense/core';
import type { XmlElement } from './xml.js';

/** What VMware says went wrong, in its own words. */
export interface Fault {
  /** The type of the fault: `NotAuthenticated`, `FileFault`, … */
  readonly name: string;
  readonly message: string;
  /** The single fields of the fault that help a person: which privilege, which argument, which file, which object. */
  readonly details: Readonly<Record<string, string>>;
  /** Keys and texts of the messages that explain the fault, for telling apart what one type covers. */
  readonly explanations: readonly string[];
}

const TELLING_FIELDS: Readonly<Record<string, string>> = {
  privilegeId: 'privilege',
  invalidProperty: 'argument',
  file: 'file',
  obj: 'object',
  object: 'object',
  feature: 'feature',
};

/** Faults that pass by themselves: another task on the VM, a host that is not reachable now. */
const PASSING = new Set([
  'TaskInProgress',
  'ConcurrentAccess',
  'HostCommunication',
  'HostNotConnected',
  'HostNotReachable',
  'Timedout',
  'RequestCanceled',
]);

/** From the `Fault` element of a SOAP body. */
export function readSoapFault(element: XmlElement): Fault {
  const detail = element.child('detail')?.children[0];
  return makeFault(detail, element.child('faultstring')?.text);
}

/** From a LocalizedMethodFault: the error of a task. */
export function readMethodFault(element: XmlElement): Fault {
  return makeFault(element.child('fault'), element.child('localizedMessage')?.text);
}

function makeFault(detail: XmlElement | undefined, text: string | undefined): Fault {
  // The element of a SOAP detail is the type's name with `Fault` added (`FileFaultFault`); a task's is only `fault`.
  const name = detail?.xsiType ?? detail?.name.replace(/^fault$|Fault$/, '') ?? '';
  const details = (detail?.children ?? []).flatMap((field) => {
    const shownAs = Object.hasOwn(TELLING_FIELDS, field.name) ? TELLING_FIELDS[field.name] : undefined;
    const value = printable(field.text.trim()).slice(0, 300);
    return shownAs !== undefined && value !== '' ? [[shownAs, value] as const] : [];
  });
  return {
    name: printable(name).slice(0, 100) || 'unknown fault',
    message: printable((text ?? '').trim()).slice(0, 1000),
    details: Object.fromEntries(details),
    explanations: (detail?.all('faultMessage') ?? []).flatMap((message) =>
      [message.child('key'), message.child('message')].flatMap((part) =>
        part ? [part.text.slice(0, 500)] : [],
      ),
    ),
  };
}

/** VimClient.faultError makes the same, and cuts secrets out. */
export function faultError(fault: Fault, what: string, context: Record<string, string>): SendenseError {
  const details = Object.entries(fault.details).map(([name, value]) => `${name} ${value}`);
  const said = [fault.message, ...fault.explanations.slice(-1)].filter((text, index, all) => {
    return text !== '' && all.indexOf(text) === index;
  });
  return new SendenseError(
    'vcenter_fault',
    `vCenter refused ${what}: ${[fault.name, ...said].join(': ')}${details.length > 0 ? ` (${details.join(', ')})` : ''}`,
    {
      context: { ...context, ...fault.details, fault: fault.name, fault_message: fault.message },
      cause: new FaultCause(fault),
      retryable: PASSING.has(fault.name),
    },
  );
}

/** Carries the whole fault along with the error that is shown. */
class FaultCause extends Error {
  override readonly name = 'Fault';
  constructor(readonly fault: Fault) {
    super(fault.name);
  }
}

/** The fault behind a `vcenter_fault`. */
export function faultOf(error: unknown): Fault | undefined {
  return error instanceof SendenseError && error.cause instanceof FaultCause ? error.cause.fault : undefined;
}

/** Whether the error is a fault of one of these types. */
export function isFault(error: unknown, ...names: string[]): error is SendenseError {
  const name = faultOf(error)?.name;
  return name !== undefined && names.includes(name);
}

/** The same fault under a code that says what it means to the caller. */
export function faultAs(
  code:
    | 'snapshot_create_failed'
    | 'snapshot_remove_failed'
    | 'changed_areas_unavailable'
    | 'vcenter_login_failed',
  what: string,
  error: SendenseError,
): SendenseError {
  return new SendenseError(code, `${what}: ${error.message}`, {
    context: error.context,
    cause: error,
    retryable: error.retryable,
  });
}
