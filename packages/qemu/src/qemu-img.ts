export interface QemuImgOptions {
  /** Name or path of the binary. @default 'qemu-img' */
  readonly command?: string;
}

export interface CreateImageOptions {
  readonly sizeBytes: number;
  /** Makes the image an overlay. The path is absolute; it is stored relative, so that a repository can be moved. */
  readonly backing?: { readonly path: string; readonly format: 'qcow2' };
  /** @default 65536 */
  readonly clusterBytes?: number;
  readonly signal?: AbortSignal;
}

export interface ImageInfo {
  readonly path: string;
  readonly format: string;
  readonly virtualSizeBytes: number;
  /** Bytes that the file occupies on disk. */
  readonly actualSizeBytes: number;
  readonly clusterBytes: number | undefined;
  /** As stored in the image: relative to its folder. */
  readonly backingFile: string | undefined;
  /** Absolute. */
  readonly backingPath: string | undefined;
  readonly backingFormat: string | undefined;
  /** Set while somebody writes it, and after a crash of whoever did. */
  readonly dirty: boolean;
  readonly corrupt: boolean;
}

export interface MapExtent {
  readonly offset: number;
  readonly length: number;
  /** 0: held by this image itself; 1 and more: by its backing files. */
  readonly depth: number;
  readonly zero: boolean;
  readonly data: boolean;
}

export type ImageFormat = 'qcow2' | 'raw';

/** `qemu-img`, one method for each of its commands that Sendense uses. Every path must be absolute. */
export class QemuImg {
  constructor(readonly options: QemuImgOptions = {}) {}
  /** Creates a QCOW2 image; refuses a file that exists. @throws `target_create_failed`, `out_of_space`, `qemu_img_failed` */
  async create(_path: string, _options: CreateImageOptions): Promise<void> {
    throw new Error('not built yet');
  }
  async info(_path: string, _options?: { signal?: AbortSignal }): Promise<ImageInfo> {
    throw new Error('not built yet');
  }
  /** The image and its backing files, the image first. */
  async backingChain(_path: string, _options?: { signal?: AbortSignal }): Promise<ImageInfo[]> {
    throw new Error('not built yet');
  }
  /** @throws `image_check_failed` */
  async check(_path: string, _options?: { signal?: AbortSignal }): Promise<void> {
    throw new Error('not built yet');
  }
  async map(_path: string, _options?: { signal?: AbortSignal }): Promise<MapExtent[]> {
    throw new Error('not built yet');
  }
  async compare(
    _a: string,
    _b: string,
    _options: { formatA: ImageFormat; formatB: ImageFormat; signal?: AbortSignal },
  ): Promise<{ identical: boolean; detail: string }> {
    throw new Error('not built yet');
  }
}
