import type { Lab, LabOptions } from './types.js';

/** Starts the lab in this process. @throws `data_directory_in_use` · `port_in_use` */
export async function startLab(_options: LabOptions): Promise<Lab> {
  throw new Error('not built yet');
}
