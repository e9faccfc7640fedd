/** One page of a listing. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Pass it back to get the page that follows; undefined on the last one. */
  readonly nextCursor: string | undefined;
}

export interface PageRequest {
  /** 1–1000. @default 100 */
  readonly limit?: number;
  /** From {@link Page.nextCursor}. Opaque. */
  readonly cursor?: string;
}
