import { requiredText } from '../soap/arguments.js';
import type { Methods } from './call.js';
import { propertyAt, requireObject } from './objects.js';

/** Methods that every object has. */
export const entityMethods: Methods = {
  /** How some clients read one property, past the property collector. */
  Fetch: async (call) => {
    const object = requireObject(call.service.objects(call.session), call.target);
    return propertyAt(object, requiredText(call.arguments, 'prop').trim());
  },
};
