import { invalidArgument } from '../soap/fault.js';
import { list, object, text, type Value } from '../soap/value.js';
import { child, children } from '../soap/xml.js';
import { requiredText, wholeNumber } from '../soap/arguments.js';
import type { Call, Methods } from './call.js';
import { referenceTo } from './objects.js';
import { readFilterSpec, retrieve, type Found } from './traversal.js';

/** As vCenter, which answers with no more objects at once unless it is asked for fewer. */
const MOST_OBJECTS = 1000;

/** What is still to be fetched by ContinueRetrievePropertiesEx, by token. */
export class Continuations {
  readonly #waiting = new Map<
    string,
    { readonly session: string; readonly rest: Found[]; readonly page: number }
  >();
  #next = 1;

  page(session: string, found: Found[], size: number): { objects: Found[]; token?: string } {
    if (found.length <= size) return { objects: found };
    const token = String(this.#next++);
    this.#waiting.set(token, { session, rest: found.slice(size), page: size });
    return { objects: found.slice(0, size), token };
  }

  /** @throws VimFault InvalidArgument for a token of another session, or one that was used */
  continue(session: string, token: string): { objects: Found[]; token?: string } {
    const waiting = this.#waiting.get(token);
    if (waiting?.session !== session) throw invalidArgument('token');
    this.#waiting.delete(token);
    return this.page(session, waiting.rest, waiting.page);
  }

  /** @throws VimFault InvalidArgument */
  cancel(session: string, token: string): void {
    if (this.#waiting.get(token)?.session !== session) throw invalidArgument('token');
    this.#waiting.delete(token);
  }
}

function describeFound({ object: found, properties }: Found): Value {
  return object('ObjectContent', {
    obj: referenceTo(found),
    propSet: list(
      'DynamicProperty',
      [...properties].map(([name, value]) => object('DynamicProperty', { name: text(name), val: value })),
    ),
  });
}

function retrieveAll(call: Call): Found[] {
  return children(call.arguments, 'specSet').flatMap((spec) =>
    retrieve(call.service.objects(call.session), readFilterSpec(spec)),
  );
}

function describePage({ objects, token }: { objects: Found[]; token?: string }): Value | undefined {
  if (objects.length === 0) return undefined;
  return object('RetrieveResult', {
    token: token === undefined ? undefined : text(token),
    objects: list(
      'ObjectContent',
      objects.map((found) => describeFound(found)),
    ),
  });
}

export const retrieveMethods: Methods = {
  RetrieveProperties: async (call) =>
    list(
      'ObjectContent',
      retrieveAll(call).map((found) => describeFound(found)),
    ),

  RetrievePropertiesEx: async (call) => {
    const options = child(call.arguments, 'options');
    const asked = (options && wholeNumber(options, 'maxObjects')) ?? MOST_OBJECTS;
    if (asked <= 0) throw invalidArgument('options.maxObjects');
    const size = Math.min(asked, MOST_OBJECTS);
    return describePage(call.service.continuations.page(call.session.key, retrieveAll(call), size));
  },

  ContinueRetrievePropertiesEx: async (call) =>
    describePage(
      call.service.continuations.continue(call.session.key, requiredText(call.arguments, 'token')),
    ),

  CancelRetrievePropertiesEx: async (call) => {
    call.service.continuations.cancel(call.session.key, requiredText(call.arguments, 'token'));
    return undefined;
  },
};
