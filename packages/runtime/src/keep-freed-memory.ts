/**
 * Environment for a process that moves data through buffers (glibc's tunables, mallopt(3)): it keeps what it has freed.
 *
 * glibc gives memory back to the kernel as soon as 128 KiB at the top of its heap are free, and takes large blocks from
 * the kernel each time. A process that handles a megabyte at a time then has the kernel zero every page anew for every
 * megabyte: measured with qemu-nbd, one page fault for each 4 KiB that it received, and a third of its CPU time. With
 * this, what a process used most is what it keeps, up to 64 MiB.
 */
export const KEEP_FREED_MEMORY: Readonly<Record<string, string>> = {
  MALLOC_TRIM_THRESHOLD_: String(64 << 20),
  /** The largest value that glibc takes. */
  MALLOC_MMAP_THRESHOLD_: String(32 << 20),
};
