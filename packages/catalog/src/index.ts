export type { Audit, AuditEvent, AuditEventRecord } from './audit.js';
export type { BeginBackup } from './backup-begin.js';
export * from './backup-records.js';
export type { Backups } from './backups.js';
export {
  chainBusy,
  type ChainLockMode,
  type ChainLockRecord,
  type ChainLocks,
  type ChainRef,
} from './chain-locks.js';
export { openCatalog, type Catalog, type CatalogOptions } from './catalog.js';
export type { CleanupArgs, CleanupRecord, Cleanups } from './cleanups.js';
export { catalogLocation, copyCatalog, type CatalogLocation, type CopiedTable } from './copy.js';
export type {
  EnrolmentResult,
  IssuedEnrolmentToken,
  NodeCheckRecord,
  NodeRecord,
  Nodes,
  NodeStatus,
} from './nodes.js';
export { mariaDbTarget, type MariaDbTarget } from './mariadb-target.js';
export type { Page, PageRequest } from './paging.js';
export type { Repositories, RepositoryRecord, RepositoryType } from './repositories.js';
export type { RestoreMountRecord, RestoreMounts } from './restore-mounts.js';
export type { ImportedDisk, ImportedPoint, ImportResult } from './restore-point-import.js';
export type {
  RestorePointDiskRecord,
  RestorePointRecord,
  RestorePointState,
  VerificationOutcome,
} from './restore-point-records.js';
export type { MergedDisk, MergedPoint } from './restore-point-removal.js';
export type { RestorePoints } from './restore-points.js';
export type { EffectiveRetention, Retention, RetentionScope } from './retention.js';
export * from './task-records.js';
export type { Tasks } from './tasks.js';
export { toStoredError, type StoredError, type StoredWarning } from './stored-error.js';
export { MAX_NAME_LENGTH, MAX_PATH_LENGTH } from './text-limits.js';
export type { ApiRole, ApiTokenRecord, Tokens } from './tokens.js';
export type { NewVcenter, VcenterChange, VcenterConnection, VcenterRecord, Vcenters } from './vcenters.js';
export type { ChangeTracking, DiscoveredDisk, DiscoveredVm, VmDiskRecord, VmRecord } from './vm-records.js';
export type { Vms } from './vms.js';
