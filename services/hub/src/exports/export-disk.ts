import { open, rm, stat, type FileHandle } from 'node:fs/promises';
import { syncFile } from '@sendense/runtime';
import type { ConvertedFormat } from '@sendense/qemu';
import { verifyDiskContent, type ContentOptions } from '../chains/verify-content.js';
import type { DiskChain, Finding } from '../chains/structure.js';

export const EXPORT_FORMATS = ['raw', 'qcow2', 'vmdk', 'vhdx'] as const satisfies readonly (
  ConvertedFormat | 'raw'
)[];
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

export interface DiskExport extends Omit<
  ContentOptions,
  'onData' | 'stopAtFinding' | 'onProgress' | 'maxFindings'
> {
  readonly format: ExportFormat;
  /** Absolute; must not be there. */
  readonly into: string;
  readonly capacityBytes: number;
  /** From 0 to {@link workBytes}. */
  readonly onProgress: (bytesDone: number) => void;
}

/** For progress: a disk that is converted is gone through twice. */
export function workBytes(format: ExportFormat, capacityBytes: number): number {
  return format === 'raw' ? capacityBytes : 2 * capacityBytes;
}

/**
 * Writes one disk of a restore point, durably. Each block is compared with the hash of what was read at the source while
 * it is copied; the copying ends at the first that differs.
 *
 * @returns what was wrong, the file is incomplete then; or how much space the file takes
 * @throws `out_of_space`, as verifyDiskContent and QemuImg.convertRaw
 */
export async function exportDisk(
  chain: DiskChain,
  o: DiskExport,
): Promise<{ readonly findings: readonly Finding[]; readonly storedBytes: number }> {
  const raw = o.format === 'raw' ? o.into : `${o.into}.raw`;
  const findings = await writeRaw(chain, raw, o);
  if (findings.length > 0) return { findings, storedBytes: 0 };
  if (o.format !== 'raw') {
    const { format, signal, capacityBytes } = o;
    const onProgress = (percent: number) => o.onProgress(Math.round(capacityBytes * (1 + percent / 100)));
    await o.images.convertRaw(raw, o.into, { format, signal, onProgress });
    await rm(raw);
    await syncFile(o.into);
  }
  return { findings, storedBytes: (await stat(o.into)).blocks * 512 };
}

async function writeRaw(chain: DiskChain, path: string, o: DiskExport): Promise<readonly Finding[]> {
  await using file = await open(path, 'wx', 0o640);
  // What is not written reads as zeros.
  await file.truncate(o.capacityBytes);
  const { findings } = await verifyDiskContent(chain, {
    ...o,
    maxFindings: 1,
    stopAtFinding: true,
    onData: (offset, data) => writeAll(file, data, offset),
    onProgress: (bytes) => o.onProgress(bytes),
  });
  if (findings.length === 0 && o.format === 'raw') await file.sync();
  return findings;
}

async function writeAll(file: FileHandle, data: Buffer, offset: number): Promise<void> {
  for (let done = 0; done < data.length;) {
    const { bytesWritten } = await file.write(data, done, data.length - done, offset + done);
    done += bytesWritten;
  }
}
