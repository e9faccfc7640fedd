import { dirname, resolve } from 'node:path';
import { SendenseError } from '@sendense/core';

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

/** What `qemu-img info --output=json` says, as far as it is used. */
export interface InfoJson {
  readonly filename: string;
  readonly format: string;
  readonly 'virtual-size': number;
  readonly 'actual-size'?: number;
  readonly 'cluster-size'?: number;
  readonly 'backing-filename'?: string;
  readonly 'backing-filename-format'?: string;
  readonly 'dirty-flag'?: boolean;
  readonly 'format-specific'?: { readonly data?: { readonly corrupt?: boolean } };
}

/** What a tool answered. @throws `qemu_img_failed` when it is no JSON */
export function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SendenseError('qemu_img_failed', `${what}: qemu-img answered no JSON`, { cause: error });
  }
}

export function toImageInfo(json: InfoJson): ImageInfo {
  const backingFile = json['backing-filename'];
  // qemu joins a relative backing path to its overlay's folder as it is, `./` and `../` included.
  const path = resolve(json.filename);
  return {
    path,
    format: json.format,
    virtualSizeBytes: json['virtual-size'],
    actualSizeBytes: json['actual-size'] ?? 0,
    clusterBytes: json['cluster-size'],
    backingFile,
    backingPath: backingFile === undefined ? undefined : resolve(dirname(path), backingFile),
    backingFormat: json['backing-filename-format'],
    dirty: json['dirty-flag'] ?? false,
    corrupt: json['format-specific']?.data?.corrupt ?? false,
  };
}
