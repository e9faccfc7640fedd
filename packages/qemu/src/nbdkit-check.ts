export interface ToolCheck {
  /** `nbdkit`, `vddk_plugin`, `vddk_library` */
  readonly name: string;
  readonly ok: boolean;
  /** What was found, or what is wrong and how to fix it. */
  readonly detail: string;
}

export interface NbdkitCheckOptions {
  readonly command?: string;
  readonly plugin?: string;
  readonly libdir?: string;
  readonly signal?: AbortSignal;
}

/** Whether nbdkit, its VDDK plugin and VMware's library are there and work together. Never throws. */
export async function checkNbdkit(_options: NbdkitCheckOptions): Promise<ToolCheck[]> {
  throw new Error('not built yet');
}
