import { ROOT_FOLDER } from '../model/inventory.js';
import { invalidLogin, notAuthenticated, objectNotFound } from '../soap/fault.js';
import { boolean, list, object, reference, references, text, time, type Value } from '../soap/value.js';
import { requiredText, texts } from '../soap/arguments.js';
import type { Call, Methods } from './call.js';
import type { ManagedObject } from './objects.js';
import type { VimService } from './service.js';
import { describeSession, type Session } from './sessions.js';

export const SERVICE_INSTANCE = 'ServiceInstance';

/** Which vCenter the lab pretends to be. */
const VERSION = '8.0.2';
const BUILD = '22617221';

function describeContent(service: VimService): Value {
  return object('ServiceContent', {
    rootFolder: reference('Folder', ROOT_FOLDER),
    propertyCollector: reference('PropertyCollector', 'propertyCollector'),
    viewManager: reference('ViewManager', 'ViewManager'),
    about: object('AboutInfo', {
      name: text('VMware vCenter Server'),
      fullName: text(`VMware vCenter Server ${VERSION} build-${BUILD} (simulated)`),
      vendor: text('VMware, Inc.'),
      version: text(VERSION),
      build: text(BUILD),
      localeVersion: text('INTL'),
      localeBuild: text('000'),
      osType: text('linux-x64'),
      productLineId: text('vpx'),
      apiType: text('VirtualCenter'),
      apiVersion: text('8.0.2.0'),
      instanceUuid: text(service.context.state.instanceUuid),
      licenseProductName: text('VMware VirtualCenter Server'),
      licenseProductVersion: text('8.0'),
    }),
    sessionManager: reference('SessionManager', 'SessionManager'),
    taskManager: reference('TaskManager', 'TaskManager'),
    searchIndex: reference('SearchIndex', 'SearchIndex'),
  });
}

/** The objects that are there once. */
export function serviceObject(
  service: VimService,
  session: Session | undefined,
  moref: string,
): ManagedObject | undefined {
  switch (moref) {
    case SERVICE_INSTANCE:
      return {
        type: SERVICE_INSTANCE,
        moref,
        properties: {
          content: () => describeContent(service),
          serverClock: () => time(new Date()),
          capability: () =>
            object('Capability', { provisioningSupported: boolean(true), multiHostSupported: boolean(true) }),
        },
      };
    case 'SessionManager':
      return {
        type: 'SessionManager',
        moref,
        properties: {
          sessionList: () =>
            list(
              'UserSession',
              service.sessions.all().map((one) => describeSession(one)),
            ),
          currentSession: () => session && describeSession(session),
        },
      };
    case 'TaskManager':
      return {
        type: 'TaskManager',
        moref,
        properties: {
          recentTask: () =>
            references(
              service.tasks
                .all()
                .slice(-20)
                .map((task) => reference('Task', task.moref)),
            ),
        },
      };
    case 'SearchIndex':
      return { type: 'SearchIndex', moref, properties: {} };
    default:
      return undefined;
  }
}

/** What may be called without a login. */
export const anonymousMethods: Readonly<
  Record<string, (call: Pick<Call, 'service' | 'target'>) => Promise<Value | undefined>>
> = {
  RetrieveServiceContent: async ({ service }) => describeContent(service),
  CurrentTime: async () => time(new Date()),
};

/** Whether the login is right. @throws VimFault InvalidLogin */
export function checkLogin(service: VimService, call: Pick<Call, 'arguments'>): string {
  const username = requiredText(call.arguments, 'userName');
  const password = requiredText(call.arguments, 'password');
  const expected = service.credentials;
  if (username.toLowerCase() !== expected.username.toLowerCase() || password !== expected.password)
    throw invalidLogin();
  return username;
}

export const sessionManagerMethods: Methods = {
  Logout: async ({ service, session }) => {
    service.sessions.close(session);
    return undefined;
  },

  SessionIsActive: async (call) => {
    const wanted = call.service.sessions.byKey(requiredText(call.arguments, 'sessionID'));
    const username = requiredText(call.arguments, 'userName');
    return boolean(wanted?.username.toLowerCase() === username.toLowerCase());
  },

  TerminateSession: async (call) => {
    for (const key of texts(call.arguments, 'sessionId')) {
      const session = call.service.sessions.byKey(key);
      if (!session) throw objectNotFound('UserSession', key);
      if (session === call.session) throw notAuthenticated(call.target);
      call.service.sessions.close(session);
    }
    return undefined;
  },
};
