-- AlterTable
ALTER TABLE "backup_disks" ADD COLUMN "reason_detail" TEXT;

-- CreateTable
CREATE TABLE "chain_locks" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "context_id" TEXT NOT NULL,
    "repository_id" TEXT NOT NULL,
    "mode" TEXT NOT NULL,
    "purpose" TEXT NOT NULL,
    "holder_id" TEXT NOT NULL,
    "acquired_at" DATETIME NOT NULL
);

-- CreateTable
CREATE TABLE "tasks" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "kind" TEXT NOT NULL,
    "subject_type" TEXT NOT NULL,
    "subject_id" TEXT NOT NULL,
    "args" TEXT NOT NULL,
    "requested_by" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL,
    "started_at" DATETIME,
    "ended_at" DATETIME,
    "cancel_reason" TEXT,
    "bytes_done" BIGINT,
    "bytes_total" BIGINT,
    "error" TEXT,
    "result" TEXT
);

-- CreateTable
CREATE TABLE "retention_policies" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "context_id" TEXT,
    "repository_id" TEXT,
    "keep_last" INTEGER NOT NULL,
    "daily" INTEGER NOT NULL,
    "weekly" INTEGER NOT NULL,
    "monthly" INTEGER NOT NULL,
    "yearly" INTEGER NOT NULL,
    "time_zone" TEXT,
    "updated_at" DATETIME NOT NULL,
    CONSTRAINT "retention_policies_context_id_fkey" FOREIGN KEY ("context_id") REFERENCES "vm_replication_contexts" ("context_id") ON DELETE CASCADE ON UPDATE RESTRICT,
    CONSTRAINT "retention_policies_repository_id_fkey" FOREIGN KEY ("repository_id") REFERENCES "repositories" ("id") ON DELETE CASCADE ON UPDATE RESTRICT
);

-- RedefineTables
PRAGMA defer_foreign_keys=ON;
PRAGMA foreign_keys=OFF;
CREATE TABLE "new_restore_points" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "context_id" TEXT NOT NULL,
    "vm_name" TEXT NOT NULL,
    "vm_instance_uuid" TEXT NOT NULL,
    "repository_id" TEXT NOT NULL,
    "type" TEXT NOT NULL,
    "taken_at" DATETIME NOT NULL,
    "sealed_at" DATETIME NOT NULL,
    "quiesced" BOOLEAN NOT NULL,
    "manifest_path" TEXT NOT NULL,
    "state" TEXT NOT NULL DEFAULT 'sealed',
    "suspect" BOOLEAN NOT NULL DEFAULT false,
    "suspect_reason" TEXT,
    "verification" TEXT,
    "verified_at" DATETIME,
    "verified_full" BOOLEAN,
    "verification_detail" TEXT,
    "fully_verified_at" DATETIME,
    "held_at" DATETIME,
    "hold_reason" TEXT,
    CONSTRAINT "restore_points_context_id_fkey" FOREIGN KEY ("context_id") REFERENCES "vm_replication_contexts" ("context_id") ON DELETE RESTRICT ON UPDATE RESTRICT,
    CONSTRAINT "restore_points_repository_id_fkey" FOREIGN KEY ("repository_id") REFERENCES "repositories" ("id") ON DELETE RESTRICT ON UPDATE RESTRICT
);
INSERT INTO "new_restore_points" ("context_id", "id", "manifest_path", "quiesced", "repository_id", "sealed_at", "taken_at", "type", "vm_instance_uuid", "vm_name") SELECT "context_id", "id", "manifest_path", "quiesced", "repository_id", "sealed_at", "taken_at", "type", "vm_instance_uuid", "vm_name" FROM "restore_points";
DROP TABLE "restore_points";
ALTER TABLE "new_restore_points" RENAME TO "restore_points";
CREATE INDEX "restore_points_taken_at_id_idx" ON "restore_points"("taken_at", "id");
CREATE INDEX "restore_points_context_id_repository_id_taken_at_id_idx" ON "restore_points"("context_id", "repository_id", "taken_at", "id");
CREATE INDEX "restore_points_repository_id_taken_at_id_idx" ON "restore_points"("repository_id", "taken_at", "id");
CREATE INDEX "restore_points_vm_name_taken_at_id_idx" ON "restore_points"("vm_name", "taken_at", "id");
CREATE INDEX "restore_points_state_fully_verified_at_taken_at_id_idx" ON "restore_points"("state", "fully_verified_at", "taken_at", "id");
CREATE TABLE "new_vm_replication_contexts" (
    "context_id" TEXT NOT NULL PRIMARY KEY,
    "vcenter_id" TEXT,
    "moref" TEXT NOT NULL,
    "instance_uuid" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "power_state" TEXT NOT NULL,
    "host_moref" TEXT NOT NULL,
    "host_name" TEXT NOT NULL,
    "guest_full_name" TEXT NOT NULL,
    "change_tracking_state" TEXT NOT NULL DEFAULT 'unknown',
    "change_tracking_detail" TEXT,
    "created_at" DATETIME NOT NULL,
    "updated_at" DATETIME NOT NULL,
    CONSTRAINT "vm_replication_contexts_vcenter_id_fkey" FOREIGN KEY ("vcenter_id") REFERENCES "vmware_credentials" ("id") ON DELETE SET NULL ON UPDATE RESTRICT
);
INSERT INTO "new_vm_replication_contexts" ("context_id", "created_at", "guest_full_name", "host_moref", "host_name", "instance_uuid", "moref", "name", "power_state", "updated_at", "vcenter_id") SELECT "context_id", "created_at", "guest_full_name", "host_moref", "host_name", "instance_uuid", "moref", "name", "power_state", "updated_at", "vcenter_id" FROM "vm_replication_contexts";
DROP TABLE "vm_replication_contexts";
ALTER TABLE "new_vm_replication_contexts" RENAME TO "vm_replication_contexts";
CREATE INDEX "vm_replication_contexts_instance_uuid_idx" ON "vm_replication_contexts"("instance_uuid");
CREATE INDEX "vm_replication_contexts_name_idx" ON "vm_replication_contexts"("name");
CREATE INDEX "vm_replication_contexts_created_at_context_id_idx" ON "vm_replication_contexts"("created_at", "context_id");
CREATE UNIQUE INDEX "vm_replication_contexts_vcenter_id_instance_uuid_key" ON "vm_replication_contexts"("vcenter_id", "instance_uuid");
PRAGMA foreign_keys=ON;
PRAGMA defer_foreign_keys=OFF;

-- CreateIndex
CREATE INDEX "chain_locks_holder_id_idx" ON "chain_locks"("holder_id");

-- CreateIndex
CREATE UNIQUE INDEX "chain_locks_context_id_repository_id_holder_id_key" ON "chain_locks"("context_id", "repository_id", "holder_id");

-- CreateIndex
CREATE INDEX "tasks_created_at_id_idx" ON "tasks"("created_at", "id");

-- CreateIndex
CREATE INDEX "tasks_state_created_at_id_idx" ON "tasks"("state", "created_at", "id");

-- CreateIndex
CREATE INDEX "tasks_kind_created_at_id_idx" ON "tasks"("kind", "created_at", "id");

-- CreateIndex
CREATE INDEX "tasks_subject_type_subject_id_created_at_id_idx" ON "tasks"("subject_type", "subject_id", "created_at", "id");

-- CreateIndex
CREATE UNIQUE INDEX "retention_policies_context_id_key" ON "retention_policies"("context_id");

-- CreateIndex
CREATE UNIQUE INDEX "retention_policies_repository_id_key" ON "retention_policies"("repository_id");
