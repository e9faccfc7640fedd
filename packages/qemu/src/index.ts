export { DirectChain, type DirectChainOptions } from './direct/direct-chain.js';
export type { ChainExtent } from './direct/overlay.js';
export type { ExportAddress, ExportProbe } from './export-probe.js';
export { checkNbdkit, requireNbdkit, type NbdkitCheckOptions, type ToolCheck } from './nbdkit-check.js';
export type { ImageInfo, MapExtent } from './image-info.js';
export { NbdkitVddk, type NbdkitVddkOptions } from './nbdkit-vddk.js';
export {
  QemuImg,
  type ConvertedFormat,
  type CreateImageOptions,
  type ImageFormat,
  type QemuImgOptions,
  type RebaseOptions,
} from './qemu-img.js';
export { QemuNbd, type QemuNbdOptions } from './qemu-nbd.js';
export { startReadOnlyExport, type ReadOnlyExport, type ReadOnlyExportOptions } from './read-only-export.js';
export type { RewriteOptions } from './rewrite-image.js';
