export type { ExportAddress, ExportProbe } from './export-probe.js';
export { checkNbdkit, type NbdkitCheckOptions, type ToolCheck } from './nbdkit-check.js';
export { NbdkitVddk, type NbdkitVddkOptions } from './nbdkit-vddk.js';
export {
  QemuImg,
  type CreateImageOptions,
  type ImageFormat,
  type ImageInfo,
  type MapExtent,
  type QemuImgOptions,
} from './qemu-img.js';
export { QemuNbd, type QemuNbdOptions } from './qemu-nbd.js';
