import { createHash, randomBytes } from 'node:crypto';
import { cp, mkdir, open, readFile, readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';

const GIB = 1024 ** 3;
/** Where the only partition starts: 1 MiB, as every partitioning tool does today. */
export const PARTITION_OFFSET = 1 << 20;

const BLOCK_BYTES = 4096;
const BLOCKS_A_MIB = (1 << 20) / BLOCK_BYTES;

export interface GuestDisk {
  readonly image: string;
  readonly sizeBytes: number;
  /** Where the content of files lies on it, a MiB each: what is written there leaves the file system sound. */
  readonly fileContent: readonly number[];
}

/** Of the VM that is shown: a disk of 102 GB and one of 5 GB. */
export async function makeGuestDisks(folder: string): Promise<GuestDisk[]> {
  return [await makeGuestDisk(folder, 'system', 102, 256), await makeGuestDisk(folder, 'data', 5, 128)];
}

/** A thin disk image with a GPT partition table and an ext4 file system that holds real files. */
async function makeGuestDisk(
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
  const blocks = Math.floor((sizeBytes - 2 * PARTITION_OFFSET) / BLOCK_BYTES);
  await execa('mkfs.ext4', [
    ...['-q', '-F', '-b', String(BLOCK_BYTES), '-L', name, '-d', content],
    ...['-E', `offset=${PARTITION_OFFSET},lazy_itable_init=1`, image, String(blocks)],
  ]);
  return { image, sizeBytes, fileContent: await findFileContent(image, fileMib) };
}

/** The first MiB of each random file whose blocks lie one after the other. */
async function findFileContent(image: string, mebibytes: number): Promise<number[]> {
  const names = Array.from({ length: Math.ceil(mebibytes / 8) }, (_, index) => `/data/random-${index}.bin`);
  // bmap prints the number of the block on the disk that holds a block of a file.
  const questions = names.flatMap((name) => [0, BLOCKS_A_MIB - 1].map((block) => `bmap ${name} ${block}`));
  const { stdout } = await execa('debugfs', ['-f', '-', `${image}?offset=${PARTITION_OFFSET}`], {
    input: questions.join('\n'),
    env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
  });
  const answers = stdout
    .split('\n')
    .filter((line) => /^\d+$/.test(line))
    .map(Number);
  return names.flatMap((_, index) => {
    const [first, last] = answers.slice(2 * index, 2 * index + 2);
    if (first === undefined || last !== first + BLOCKS_A_MIB - 1) return [];
    return [PARTITION_OFFSET + first * BLOCK_BYTES];
  });
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
