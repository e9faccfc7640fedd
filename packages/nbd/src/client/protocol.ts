// The numbers of the NBD protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md

export const MAGIC_SERVER = 0x4e42444d41474943n; // "NBDMAGIC"
export const MAGIC_OPTION = 0x49484156454f5054n; // "IHAVEOPT"
export const MAGIC_OLDSTYLE = 0x00420281861253n;
export const MAGIC_OPTION_REPLY = 0x0003e889045565a9n;
export const MAGIC_REQUEST = 0x25609513;
export const MAGIC_SIMPLE_REPLY = 0x67446698;
export const MAGIC_STRUCTURED_REPLY = 0x668e33ef;

/** The same bits in the server's and in the client's handshake flags. */
export const HANDSHAKE = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;

export const OPTION = { ABORT: 2, GO: 7, STRUCTURED_REPLY: 8, SET_META_CONTEXT: 10 } as const;

export const OPTION_REPLY = { ACK: 1, INFO: 3, META_CONTEXT: 4 } as const;

/** Option replies of this bit are errors. */
export const OPTION_ERROR_BIT = 0x8000_0000;

export const OPTION_ERRORS: Readonly<Record<number, string>> = {
  1: 'UNSUP',
  2: 'POLICY',
  3: 'INVALID',
  4: 'PLATFORM',
  5: 'TLS_REQD',
  6: 'UNKNOWN',
  7: 'SHUTDOWN',
  8: 'BLOCK_SIZE_REQD',
  9: 'TOO_BIG',
};

export const INFO = { EXPORT: 0, BLOCK_SIZE: 3 } as const;

export const TRANSMISSION = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_WRITE_ZEROES: 1 << 6,
  CAN_MULTI_CONN: 1 << 8,
  SEND_FAST_ZERO: 1 << 11,
} as const;

export const COMMAND = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const;
export type Command = Exclude<keyof typeof COMMAND, 'DISC'>;

export const CHUNK = { NONE: 0, OFFSET_DATA: 1, OFFSET_HOLE: 2, BLOCK_STATUS: 5 } as const;
export const CHUNK_DONE = 1;
/** Chunks of this bit are errors: {@link CHUNK_ERROR_OFFSET} says where, any other kind does not. */
export const CHUNK_ERROR_BIT = 0x8000;

export const BLOCK_STATUS = { HOLE: 1, ZERO: 2 } as const;
export const META_CONTEXT_ALLOCATION = 'base:allocation';

/** No payload is longer, in either direction, whatever the server allows. */
export const MAX_PAYLOAD_BYTES = 32 * 1024 * 1024;
/** Requests without payload have 32 bits for their length; this is the largest round number of them. */
export const MAX_RANGE_BYTES = 2 ** 31;

/** The protocol's error numbers, which are Linux's. */
export const ERROR_NAMES: Readonly<Record<number, string>> = {
  1: 'EPERM',
  5: 'EIO',
  12: 'ENOMEM',
  22: 'EINVAL',
  28: 'ENOSPC',
  75: 'EOVERFLOW',
  95: 'ENOTSUP',
  108: 'ESHUTDOWN',
};
