/**
 * Only the fields that have a value: for callees that tell a field that is absent from one that is undefined
 * (exactOptionalPropertyTypes).
 */
export function given<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
