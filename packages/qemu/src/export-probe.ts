/** Where an NBD server listens. The same shape as @sendense/nbd's NbdAddress. */
export type ExportAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/**
 * One NBD handshake: connects, asks for the export by name, disconnects. The services pass @sendense/nbd's
 * `probeExport`, because packages of one layer do not import each other.
 */
export type ExportProbe = (
  address: ExportAddress,
  exportName: string,
  signal?: AbortSignal,
) => Promise<{ readonly sizeBytes: number; readonly readOnly: boolean }>;
