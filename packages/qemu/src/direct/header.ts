/** What is needed of a QCOW2 header to find the active content. Numbers are big-endian in the file. */
export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly sizeBytes: number;
  readonly clusterBytes: number;
  readonly l1: { readonly offset: number; readonly entries: number };
  /** As stored; undefined when it has none. */
  readonly backing: { readonly offset: number; readonly length: number } | undefined;
}

/** Enough for every field that is looked at. */
export const HEADER_BYTES = 112;

const MAGIC = 0x51_46_49_fb;
/** The only incompatible feature that does not change how plain clusters are found: how compressed ones are packed. */
const COMPRESSION_TYPE = 1 << 3;
/** 32 MiB, as in qemu. */
const MAX_L1_BYTES = 32 << 20;
const MAX_BACKING_BYTES = 1023;

/**
 * Understands only what is plain: docs/interop/qcow2.txt of qemu says what else there is.
 *
 * @param header the first {@link HEADER_BYTES} of the file
 * @returns why it is not plain, as a string; qemu itself must read such an image
 */
export function parseHeader(header: Buffer): Qcow2Header | string {
  if (header.length < HEADER_BYTES || header.readUInt32BE(0) !== MAGIC) return 'it is no QCOW2 image';
  const version = header.readUInt32BE(4);
  if (version !== 2 && version !== 3) return `its version is ${version}`;
  const features = version === 3 ? header.readBigUInt64BE(72) & ~BigInt(COMPRESSION_TYPE) : 0n;
  if (features !== 0n)
    return `it has features that change how it is read (incompatible bits 0x${features.toString(16)})`;
  if (header.readUInt32BE(32) !== 0) return 'it is encrypted';
  if (header.readUInt32BE(60) !== 0) return 'it holds internal snapshots';
  const clusterBits = header.readUInt32BE(20);
  if (clusterBits < 9 || clusterBits > 21) return `its clusters have 2^${clusterBits} bytes`;
  const clusterBytes = 2 ** clusterBits;
  const sizeBytes = Number(header.readBigUInt64BE(24));
  const l1 = { offset: Number(header.readBigUInt64BE(40)), entries: header.readUInt32BE(36) };
  const sane =
    Number.isSafeInteger(sizeBytes) &&
    Number.isSafeInteger(l1.offset) &&
    l1.offset % clusterBytes === 0 &&
    l1.entries * 8 <= MAX_L1_BYTES &&
    l1.entries * (clusterBytes / 8) * clusterBytes >= sizeBytes;
  if (!sane) return 'its header makes no sense';
  const backing = { offset: Number(header.readBigUInt64BE(8)), length: header.readUInt32BE(16) };
  if (backing.offset === 0) return { version, sizeBytes, clusterBytes, l1, backing: undefined };
  if (backing.length > MAX_BACKING_BYTES || backing.offset + backing.length > clusterBytes)
    return 'the name of its backing file makes no sense';
  return { version, sizeBytes, clusterBytes, l1, backing };
}
