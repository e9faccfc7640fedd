/** What the server said about an export in the handshake. */
export interface NbdExport {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly canFlush: boolean;
  readonly canWriteZeroes: boolean;
  readonly canFastZero: boolean;
  /** A flush on one connection covers what was written through the others. */
  readonly canMultiConn: boolean;
  /** Offsets and lengths must be multiples of this, except at the end of the export. */
  readonly minBlockBytes: number;
  readonly preferredBlockBytes: number;
  /** The longest payload of one request; longer reads and writes are split by the client. */
  readonly maxBlockBytes: number;
  /** `base:allocation` was negotiated. */
  readonly hasBlockStatus: boolean;
}

/** A stretch of an export, as `base:allocation` describes it. */
export interface BlockStatusExtent {
  readonly offset: number;
  readonly length: number;
  /** Not allocated. Says nothing about what it reads as. */
  readonly hole: boolean;
  /** Reads as zeros. */
  readonly zero: boolean;
}
