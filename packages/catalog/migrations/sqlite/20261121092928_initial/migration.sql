-- CreateTable
CREATE TABLE "repositories" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "name" TEXT NOT NULL,
    "type" TEXT NOT NULL,
    "path" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL
);

-- CreateTable
CREATE TABLE "nodes" (
    "name" TEXT NOT NULL PRIMARY KEY,
    "state" TEXT NOT NULL,
    "public_key" TEXT,
    "created_at" DATETIME NOT NULL,
    "enrolled_at" DATETIME,
    "revoked_at" DATETIME,
    "version" TEXT,
    "commit_hash" TEXT,
    "last_seen_at" DATETIME,
    "checks" TEXT NOT NULL
);

-- CreateTable
CREATE TABLE "enrolment_tokens" (
    "secret_hash" TEXT NOT NULL PRIMARY KEY,
    "node_name" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL,
    "expires_at" DATETIME NOT NULL,
    "used_at" DATETIME,
    CONSTRAINT "enrolment_tokens_node_name_fkey" FOREIGN KEY ("node_name") REFERENCES "nodes" ("name") ON DELETE CASCADE ON UPDATE RESTRICT
);

-- CreateTable
CREATE TABLE "vmware_credentials" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "name" TEXT NOT NULL,
    "node_name" TEXT NOT NULL,
    "endpoint" TEXT NOT NULL,
    "username" TEXT NOT NULL,
    "password_sealed" TEXT NOT NULL,
    "thumbprint" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL,
    "updated_at" DATETIME NOT NULL,
    CONSTRAINT "vmware_credentials_node_name_fkey" FOREIGN KEY ("node_name") REFERENCES "nodes" ("name") ON DELETE RESTRICT ON UPDATE RESTRICT
);

-- CreateTable
CREATE TABLE "vm_replication_contexts" (
    "context_id" TEXT NOT NULL PRIMARY KEY,
    "vcenter_id" TEXT,
    "moref" TEXT NOT NULL,
    "instance_uuid" TEXT NOT NULL,
    "name" TEXT NOT NULL,
    "power_state" TEXT NOT NULL,
    "host_moref" TEXT NOT NULL,
    "host_name" TEXT NOT NULL,
    "guest_full_name" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL,
    "updated_at" DATETIME NOT NULL,
    CONSTRAINT "vm_replication_contexts_vcenter_id_fkey" FOREIGN KEY ("vcenter_id") REFERENCES "vmware_credentials" ("id") ON DELETE SET NULL ON UPDATE RESTRICT
);

-- CreateTable
CREATE TABLE "vm_disks" (
    "disk_id" TEXT NOT NULL PRIMARY KEY,
    "context_id" TEXT NOT NULL,
    "disk_number" INTEGER NOT NULL,
    "disk_key" INTEGER NOT NULL,
    "label" TEXT NOT NULL,
    "backing_uuid" TEXT NOT NULL,
    "backing_file" TEXT NOT NULL,
    "datastore" TEXT NOT NULL,
    "capacity_bytes" BIGINT NOT NULL,
    "controller_key" INTEGER NOT NULL,
    "unit_number" INTEGER NOT NULL,
    "unsupported_reason" TEXT,
    "removed_at" DATETIME,
    CONSTRAINT "vm_disks_context_id_fkey" FOREIGN KEY ("context_id") REFERENCES "vm_replication_contexts" ("context_id") ON DELETE CASCADE ON UPDATE RESTRICT
);

-- CreateTable
CREATE TABLE "backup_jobs" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "context_id" TEXT NOT NULL,
    "active_context_id" TEXT,
    "vm_name" TEXT NOT NULL,
    "vm_instance_uuid" TEXT NOT NULL,
    "repository_id" TEXT NOT NULL,
    "node_name" TEXT NOT NULL,
    "type" TEXT NOT NULL,
    "quiesce" BOOLEAN NOT NULL,
    "requested_by" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL,
    "started_at" DATETIME,
    "ended_at" DATETIME,
    "cancel_reason" TEXT,
    "error" TEXT,
    "warnings" TEXT NOT NULL,
    "last_event_sequence" INTEGER NOT NULL,
    "snapshot_moref" TEXT,
    "snapshot_name" TEXT,
    "snapshot_created_at" DATETIME,
    "snapshot_removed_at" DATETIME,
    "quiesced" BOOLEAN,
    "quiesce_note" TEXT
);

-- CreateTable
CREATE TABLE "backup_disks" (
    "backup_id" TEXT NOT NULL,
    "disk_key" INTEGER NOT NULL,
    "disk_id" TEXT NOT NULL,
    "disk_number" INTEGER NOT NULL,
    "label" TEXT NOT NULL,
    "backing_uuid" TEXT NOT NULL,
    "capacity_bytes" BIGINT NOT NULL,
    "backup_type" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "parent_point_id" TEXT,
    "previous_change_id" TEXT,
    "change_id" TEXT,
    "status" TEXT NOT NULL,
    "qcow2_path" TEXT,
    "nbd_port" INTEGER,
    "nbd_export_name" TEXT,
    "qemu_nbd_pid" INTEGER,
    "error" TEXT,
    "bytes_done" BIGINT NOT NULL,
    "bytes_total" BIGINT NOT NULL,
    "bytes_written" BIGINT NOT NULL,
    "bytes_zeroed" BIGINT NOT NULL,

    PRIMARY KEY ("backup_id", "disk_key"),
    CONSTRAINT "backup_disks_backup_id_fkey" FOREIGN KEY ("backup_id") REFERENCES "backup_jobs" ("id") ON DELETE CASCADE ON UPDATE RESTRICT
);

-- CreateTable
CREATE TABLE "restore_points" (
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
    CONSTRAINT "restore_points_context_id_fkey" FOREIGN KEY ("context_id") REFERENCES "vm_replication_contexts" ("context_id") ON DELETE RESTRICT ON UPDATE RESTRICT,
    CONSTRAINT "restore_points_repository_id_fkey" FOREIGN KEY ("repository_id") REFERENCES "repositories" ("id") ON DELETE RESTRICT ON UPDATE RESTRICT
);

-- CreateTable
CREATE TABLE "restore_point_disks" (
    "restore_point_id" TEXT NOT NULL,
    "disk_number" INTEGER NOT NULL,
    "disk_id" TEXT NOT NULL,
    "disk_key" INTEGER NOT NULL,
    "label" TEXT NOT NULL,
    "backing_uuid" TEXT NOT NULL,
    "capacity_bytes" BIGINT NOT NULL,
    "backup_type" TEXT NOT NULL,
    "reason" TEXT NOT NULL,
    "image_path" TEXT NOT NULL,
    "hashes_path" TEXT,
    "change_id" TEXT,
    "parent_point_id" TEXT,
    "bytes_read" BIGINT NOT NULL,
    "stored_bytes" BIGINT NOT NULL,

    PRIMARY KEY ("restore_point_id", "disk_number"),
    CONSTRAINT "restore_point_disks_restore_point_id_fkey" FOREIGN KEY ("restore_point_id") REFERENCES "restore_points" ("id") ON DELETE CASCADE ON UPDATE RESTRICT,
    CONSTRAINT "restore_point_disks_parent_point_id_fkey" FOREIGN KEY ("parent_point_id") REFERENCES "restore_points" ("id") ON DELETE RESTRICT ON UPDATE RESTRICT
);

-- CreateTable
CREATE TABLE "restore_mounts" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "restore_point_id" TEXT NOT NULL,
    "disk_id" TEXT NOT NULL,
    "mount_path" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL,
    "expires_at" DATETIME NOT NULL,
    CONSTRAINT "restore_mounts_restore_point_id_fkey" FOREIGN KEY ("restore_point_id") REFERENCES "restore_points" ("id") ON DELETE RESTRICT ON UPDATE RESTRICT
);

-- CreateTable
CREATE TABLE "audit_events" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "at" DATETIME NOT NULL,
    "action" TEXT NOT NULL,
    "actor" TEXT NOT NULL,
    "outcome" TEXT NOT NULL,
    "subject_type" TEXT,
    "subject_id" TEXT,
    "remote_address" TEXT,
    "detail" TEXT NOT NULL
);

-- CreateTable
CREATE TABLE "api_tokens" (
    "id" TEXT NOT NULL PRIMARY KEY,
    "name" TEXT NOT NULL,
    "role" TEXT NOT NULL,
    "token_hash" TEXT NOT NULL,
    "created_at" DATETIME NOT NULL,
    "last_used_at" DATETIME,
    "revoked_at" DATETIME
);

-- CreateTable
CREATE TABLE "cleanups" (
    "id" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    "what" TEXT NOT NULL,
    "args" TEXT NOT NULL,
    "args_hash" TEXT NOT NULL,
    "backup_id" TEXT,
    "attempts" INTEGER NOT NULL,
    "next_try_at" DATETIME NOT NULL,
    "last_error" TEXT,
    "created_at" DATETIME NOT NULL
);

-- CreateIndex
CREATE UNIQUE INDEX "repositories_name_key" ON "repositories"("name");

-- CreateIndex
CREATE UNIQUE INDEX "repositories_path_key" ON "repositories"("path");

-- CreateIndex
CREATE UNIQUE INDEX "nodes_public_key_key" ON "nodes"("public_key");

-- CreateIndex
CREATE INDEX "enrolment_tokens_node_name_idx" ON "enrolment_tokens"("node_name");

-- CreateIndex
CREATE UNIQUE INDEX "vmware_credentials_name_key" ON "vmware_credentials"("name");

-- CreateIndex
CREATE INDEX "vmware_credentials_node_name_idx" ON "vmware_credentials"("node_name");

-- CreateIndex
CREATE INDEX "vm_replication_contexts_instance_uuid_idx" ON "vm_replication_contexts"("instance_uuid");

-- CreateIndex
CREATE INDEX "vm_replication_contexts_name_idx" ON "vm_replication_contexts"("name");

-- CreateIndex
CREATE INDEX "vm_replication_contexts_created_at_context_id_idx" ON "vm_replication_contexts"("created_at", "context_id");

-- CreateIndex
CREATE UNIQUE INDEX "vm_replication_contexts_vcenter_id_instance_uuid_key" ON "vm_replication_contexts"("vcenter_id", "instance_uuid");

-- CreateIndex
CREATE UNIQUE INDEX "vm_disks_context_id_disk_number_key" ON "vm_disks"("context_id", "disk_number");

-- CreateIndex
CREATE UNIQUE INDEX "backup_jobs_active_context_id_key" ON "backup_jobs"("active_context_id");

-- CreateIndex
CREATE INDEX "backup_jobs_created_at_id_idx" ON "backup_jobs"("created_at", "id");

-- CreateIndex
CREATE INDEX "backup_jobs_state_created_at_id_idx" ON "backup_jobs"("state", "created_at", "id");

-- CreateIndex
CREATE INDEX "backup_jobs_context_id_created_at_id_idx" ON "backup_jobs"("context_id", "created_at", "id");

-- CreateIndex
CREATE INDEX "backup_jobs_vm_name_created_at_id_idx" ON "backup_jobs"("vm_name", "created_at", "id");

-- CreateIndex
CREATE INDEX "backup_jobs_repository_id_created_at_id_idx" ON "backup_jobs"("repository_id", "created_at", "id");

-- CreateIndex
CREATE INDEX "restore_points_taken_at_id_idx" ON "restore_points"("taken_at", "id");

-- CreateIndex
CREATE INDEX "restore_points_context_id_repository_id_taken_at_id_idx" ON "restore_points"("context_id", "repository_id", "taken_at", "id");

-- CreateIndex
CREATE INDEX "restore_points_repository_id_taken_at_id_idx" ON "restore_points"("repository_id", "taken_at", "id");

-- CreateIndex
CREATE INDEX "restore_points_vm_name_taken_at_id_idx" ON "restore_points"("vm_name", "taken_at", "id");

-- CreateIndex
CREATE INDEX "restore_point_disks_parent_point_id_idx" ON "restore_point_disks"("parent_point_id");

-- CreateIndex
CREATE INDEX "restore_mounts_restore_point_id_idx" ON "restore_mounts"("restore_point_id");

-- CreateIndex
CREATE INDEX "audit_events_subject_type_subject_id_id_idx" ON "audit_events"("subject_type", "subject_id", "id");

-- CreateIndex
CREATE INDEX "audit_events_action_id_idx" ON "audit_events"("action", "id");

-- CreateIndex
CREATE INDEX "audit_events_actor_id_idx" ON "audit_events"("actor", "id");

-- CreateIndex
CREATE UNIQUE INDEX "api_tokens_token_hash_key" ON "api_tokens"("token_hash");

-- CreateIndex
CREATE UNIQUE INDEX "cleanups_args_hash_key" ON "cleanups"("args_hash");

-- CreateIndex
CREATE INDEX "cleanups_next_try_at_idx" ON "cleanups"("next_try_at");
