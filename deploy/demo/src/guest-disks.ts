import { createHash, randomBytes } from 'node:crypto';
import { cp, mkdir, open, readFile, readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';

const GIB = 1024 ** 3;
/** Where the only partition starts: 1 MiB, as every partitioning tool does today. */
export const PARTITION_OFFSET = 1 << 20;

export interface GuestDisk {
  readonly image: string;
  readonly sizeBytes: number;
}

/** A thin disk image with a GPT partition table and an ext4 file system that holds real files. */
export async function makeGuestDisk(
  folder: string,
  name: string,
  sizeGib: number,
  fileMib: number,
): Promise<GuestDisk> {
  const content = join(folder, `${name}-files`);
  await fillWithFiles(content, fileMib);
  const image = join(folder, `${name}.img`);
  const sizeBytes = sizeGib * GIB;
  await (await open(image, 'w')).close();
  await truncate(image, sizeBytes);
  await execa('sfdisk', ['--quiet', image], { input: 'label: gpt\nstart=2048, type=linux\n' });
  // The file system ends 1 MiB before the disk does: the table's backup copy is there.
  const blocks = Math.floor((sizeBytes - 2 * PARTITION_OFFSET) / 4096);
  await execa('mkfs.ext4', [
    ...['-q', '-F', '-b', '4096', '-L', name, '-d', content],
    ...['-E', `offset=${PARTITION_OFFSET},lazy_itable_init=1`, image, String(blocks)],
  ]);
  return { image, sizeBytes };
}

/** Programs of this machine, random data that does not compress, and a list of their SHA-256 sums. */
async function fillWithFiles(folder: string, mebibytes: number): Promise<void> {
  await mkdir(join(folder, 'data'), { recursive: true });
  await cp('/etc/os-release', join(folder, 'os-release'), { dereference: true });
  const sums: string[] = [];
  for (let index = 0; index * 8 < mebibytes; index++) {
    const bytes = randomBytes(8 << 20);
    const name = `data/random-${index}.bin`;
    await writeFile(join(folder, name), bytes);
    sums.push(`${createHash('sha256').update(bytes).digest('hex')}  ${name}`);
  }
  for (const name of (await readdir('/usr/bin')).slice(0, 60)) {
    const bytes = await readFile(join('/usr/bin', name)).catch(() => undefined);
    if (!bytes) continue;
    await writeFile(join(folder, 'data', name), bytes);
    sums.push(`${createHash('sha256').update(bytes).digest('hex')}  data/${name}`);
  }
  await writeFile(join(folder, 'SHA256SUMS'), `${sums.join('\n')}\n`);
}

/** Checks the file system inside a raw image with e2fsck, changing nothing. @returns what e2fsck printed last */
export async function checkFileSystem(rawImage: string): Promise<{ clean: boolean; said: string }> {
  const result = await execa('e2fsck', ['-f', '-n', `${rawImage}?offset=${PARTITION_OFFSET}`], {
    reject: false,
  });
  return {
    clean: result.exitCode === 0,
    said: (result.stdout || result.stderr).trim().split('\n').at(-1) ?? '',
  };
}
