export * from './address.js';
export * from './allocated-extents.js';
export * from './buffer-pool.js';
export * from './rate-limit.js';
export { NbdClient, type ConnectOptions } from './client/client.js';
export type { BlockStatusExtent, NbdExport } from './client/export.js';
export { probeExport, type ProbeOptions } from './client/probe.js';
export { copyDisk, type CopyOptions, type CopyResult, type CopySource } from './copy/copy-disk.js';
export { readPiece } from './copy/read-piece.js';
export { MAX_PIECE_BYTES, bytesToRead } from './copy/pieces.js';
export { HASH_BLOCK_BYTES, HASH_BYTES, hashBlock, type BlockHashRun } from './hashes/format.js';
export { lookUpHashes, mergedHashes, mergeHashFiles } from './hashes/merge.js';
export { sampleBlocks, type SampleOptions } from './hashes/sample.js';
export { BlockHashWriter } from './hashes/writer.js';
export {
  readBlockHashes,
  verifyBlockHashesFile,
  type BlockHashes,
  type BlockHashesSummary,
} from './hashes/reader.js';
export {
  verifyExport,
  type BlockMismatch,
  type VerifyOptions,
  type VerifyResult,
} from './verify/verify-export.js';
export type { VerifySource } from './verify/source.js';
