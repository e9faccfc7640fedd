import {
  enumeration,
  object,
  reference,
  text,
  type DataObject,
  type Reference,
  type Value,
} from './value.js';

/** A fault in VMware's own words: of a call, or of a task. */
export class VimFault extends Error {
  override readonly name = 'VimFault';
  readonly detail: DataObject;

  constructor(type: string, message: string, fields: DataObject['fields'] = {}) {
    super(message);
    this.detail = object(type, fields);
  }

  /** As the error of a task carries it. */
  localized(): Value {
    return object('LocalizedMethodFault', { fault: this.detail, localizedMessage: text(this.message) });
  }
}

export function notAuthenticated(target: Reference): VimFault {
  return new VimFault('NotAuthenticated', 'The session is not authenticated.', {
    object: target,
    privilegeId: text('System.View'),
  });
}

export function invalidLogin(): VimFault {
  return new VimFault('InvalidLogin', 'Cannot complete login due to an incorrect user name or password.');
}

export function objectNotFound(type: string, moref: string): VimFault {
  return new VimFault(
    'ManagedObjectNotFound',
    `The object 'vim.${type}:${moref}' has already been deleted or has not been completely created`,
    { obj: reference(type, moref) },
  );
}

export function invalidArgument(argument: string): VimFault {
  return new VimFault('InvalidArgument', `A specified parameter was not correct: ${argument}`, {
    invalidProperty: text(argument),
  });
}

export function invalidProperty(name: string): VimFault {
  return new VimFault('InvalidProperty', `The property '${name}' does not exist.`, { name: text(name) });
}

export function fileFault(file: string): VimFault {
  return new VimFault('FileFault', `Error caused by file ${file}`, { file: text(file) });
}

export function taskInProgress(task: string): VimFault {
  return new VimFault(
    'TaskInProgress',
    'The operation is not allowed in the current state: another task is already in progress.',
    {
      task: reference('Task', task),
    },
  );
}

export function notSupported(what: string): VimFault {
  return new VimFault('NotSupported', `The operation is not supported on the object: ${what}`);
}

export function invalidPowerState(requested: string, existing: string): VimFault {
  return new VimFault(
    'InvalidPowerState',
    `The attempted operation cannot be performed in the current state (${existing}).`,
    {
      requestedState: enumeration('VirtualMachinePowerState', requested),
      existingState: enumeration('VirtualMachinePowerState', existing),
    },
  );
}

/** The fields that a type of fault must have, for those that the lab is told to answer with. */
const REQUIRED: Record<
  string,
  (context: { readonly target: Reference; readonly task: string }) => DataObject['fields']
> = {
  FileFault: () => ({ file: text('/vmfs/volumes/labds/simulated.vmdk') }),
  FileLocked: () => ({ file: text('/vmfs/volumes/labds/simulated.vmdk') }),
  NoDiskSpace: () => ({ file: text('/vmfs/volumes/labds/simulated.vmdk'), datastore: text('labds') }),
  FileNotFound: () => ({ file: text('/vmfs/volumes/labds/simulated.vmdk') }),
  NotAuthenticated: ({ target }) => ({ object: target, privilegeId: text('System.View') }),
  NoPermission: ({ target }) => ({
    object: target,
    privilegeId: text('VirtualMachine.State.CreateSnapshot'),
  }),
  ManagedObjectNotFound: ({ target }) => ({ obj: target }),
  TaskInProgress: ({ task }) => ({ task: reference('Task', task) }),
  InvalidArgument: () => ({ invalidProperty: text('simulated') }),
  GenericVmConfigFault: () => ({ reason: text('simulated') }),
  SystemError: () => ({ reason: text('simulated') }),
};

/** The fault that the lab was told to answer with. */
export function orderedFault(
  type: string,
  message: string | undefined,
  context: { readonly target: Reference; readonly task: string },
): VimFault {
  const shown = message ?? `A fault of the type ${type} that the lab was told to answer with.`;
  return new VimFault(type, shown, REQUIRED[type]?.(context) ?? {});
}
