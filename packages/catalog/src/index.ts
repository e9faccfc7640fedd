export type { Audit, AuditEvent, AuditEventRecord } from './audit.js';
export type { BeginBackup } from './backup-begin.js';
export * from './backup-records.js';
export type { Backups } from './backups.js';
export { openCatalog, type Catalog, type CatalogOptions } from './catalog.js';
export type { CleanupArgs, CleanupRecord, Cleanups } from './cleanups.js';
export type {
  EnrolmentResult,
  IssuedEnrolmentToken,
  NodeCheckRecord,
  NodeRecord,
  Nodes,
  NodeStatus,
} from './nodes.js';
export type { Page, PageRequest } from './paging.js';
export type { Repositories, RepositoryRecord, RepositoryType } from './repositories.js';
export type { RestoreMountRecord, RestoreMounts } from './restore-mounts.js';
export type { RestorePointDiskRecord, RestorePointRecord, RestorePoints } from './restore-points.js';
export { toStoredError, type StoredError, type StoredWarning } from './stored-error.js';
export { MAX_NAME_LENGTH, MAX_PATH_LENGTH } from './text-limits.js';
export type { ApiRole, ApiTokenRecord, Tokens } from './tokens.js';
export type { NewVcenter, VcenterChange, VcenterConnection, VcenterRecord, Vcenters } from './vcenters.js';
export type { DiscoveredDisk, DiscoveredVm, VmDiskRecord, VmRecord, Vms } from './vms.js';
