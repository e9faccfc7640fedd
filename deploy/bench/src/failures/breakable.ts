import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type Tool = 'qemu-nbd' | 'qemu-img' | 'nbdkit';

/** Programs behind scripts, so that they can be missing or misbehave, and a folder of VDDK that can be another. */
export class BreakableTools {
  constructor(
    private readonly folder: string,
    private readonly vddkLibdir: string,
  ) {
    mkdirSync(folder, { recursive: true });
    for (const tool of ['qemu-nbd', 'qemu-img', 'nbdkit'] as const) this.mend(tool);
    this.mendVddk();
  }

  path(tool: Tool | 'vddk'): string {
    return join(this.folder, tool);
  }

  /** Instead of the program runs a shell script, or nothing. */
  break(tool: Tool, script: string | undefined): void {
    if (script === undefined) rmSync(this.path(tool));
    else this.#write(tool, script);
  }

  mend(tool: Tool): void {
    this.#write(tool, `exec ${tool} "$@"`);
  }

  /** @param target instead of VDDK's folder; undefined for none */
  breakVddk(target: string | undefined): void {
    rmSync(this.path('vddk'), { force: true });
    if (target !== undefined) symlinkSync(target, this.path('vddk'));
  }

  mendVddk(): void {
    this.breakVddk(this.vddkLibdir);
  }

  /** A program that runs keeps the file that it was started from. */
  #write(tool: Tool, text: string): void {
    const path = this.path(tool);
    writeFileSync(`${path}.new`, `#!/bin/sh\n${text}\n`);
    chmodSync(`${path}.new`, 0o755);
    renameSync(`${path}.new`, path);
  }
}

/** A directory with a small file system of its own on it, which is mounted as long as this lives. */
export class BreakableDirectory implements Disposable {
  private constructor(readonly path: string) {}

  /** @returns undefined where nothing can be mounted: it takes root, and a kernel that lets it */
  static mount(path: string): BreakableDirectory | undefined {
    try {
      mount('-t', 'tmpfs', '-o', 'size=256m', 'tmpfs', path);
      return new BreakableDirectory(path);
    } catch {
      return undefined;
    }
  }

  /** Hides it under an empty file system, as where the right one is not mounted. */
  cover(): void {
    mount('-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', this.path);
  }

  uncover(): void {
    unmount(this.path);
  }

  remount(mode: 'ro' | 'rw'): void {
    mount('-o', `remount,${mode}`, this.path);
  }

  /** Leaves so much room. */
  fill(leaveMib: number): void {
    const [, available = ''] = execFileSync('df', ['--output=avail', this.path]).toString().split('\n');
    execFileSync('fallocate', ['-l', `${Number(available) - leaveMib * 1024}KiB`, this.#filler]);
  }

  empty(): void {
    rmSync(this.#filler, { force: true });
  }

  get #filler(): string {
    return join(this.path, 'filler');
  }

  [Symbol.dispose](): void {
    unmount(this.path);
  }
}

function mount(...args: string[]): void {
  execFileSync('mount', args, { stdio: 'pipe' });
}

function unmount(path: string): void {
  execFileSync('umount', ['--lazy', path], { stdio: 'pipe' });
}
