const NODE_NAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Lower case letters, digits and inner hyphens, at most 63: safe in paths, user names and socket names. */
export function isNodeName(name: string): boolean {
  return NODE_NAME.test(name);
}
