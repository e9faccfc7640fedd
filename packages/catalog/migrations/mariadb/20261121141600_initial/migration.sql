-- Everything that the migrations of SQLite lead to until 20261121141600_audited_blocks. Written by hand, with the rules of
-- docs/decisions/0009-mariadb.md; every statement may run again after an interruption.

CREATE TABLE IF NOT EXISTS `repositories` (
  `id` VARCHAR(191) NOT NULL,
  `name` VARCHAR(512) NOT NULL,
  `type` VARCHAR(191) NOT NULL,
  `path` VARCHAR(768) NOT NULL,
  `created_at` DATETIME(3) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `repositories_name_key` (`name`),
  UNIQUE KEY `repositories_path_key` (`path`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `nodes` (
  `name` VARCHAR(512) NOT NULL,
  `state` VARCHAR(191) NOT NULL,
  `public_key` VARCHAR(768) NULL,
  `created_at` DATETIME(3) NOT NULL,
  `enrolled_at` DATETIME(3) NULL,
  `revoked_at` DATETIME(3) NULL,
  `version` LONGTEXT NULL,
  `commit_hash` LONGTEXT NULL,
  `last_seen_at` DATETIME(3) NULL,
  `checks` LONGTEXT NOT NULL,
  PRIMARY KEY (`name`),
  UNIQUE KEY `nodes_public_key_key` (`public_key`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `enrolment_tokens` (
  `secret_hash` VARCHAR(191) NOT NULL,
  `node_name` VARCHAR(191) NOT NULL,
  `created_at` DATETIME(3) NOT NULL,
  `expires_at` DATETIME(3) NOT NULL,
  `used_at` DATETIME(3) NULL,
  PRIMARY KEY (`secret_hash`),
  KEY `enrolment_tokens_node_name_idx` (`node_name`),
  CONSTRAINT `enrolment_tokens_node_name_fkey` FOREIGN KEY (`node_name`) REFERENCES `nodes` (`name`) ON DELETE CASCADE ON UPDATE RESTRICT
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `vmware_credentials` (
  `id` VARCHAR(191) NOT NULL,
  `name` VARCHAR(512) NOT NULL,
  `node_name` VARCHAR(191) NOT NULL,
  `endpoint` LONGTEXT NOT NULL,
  `username` LONGTEXT NOT NULL,
  `password_sealed` LONGTEXT NOT NULL,
  `thumbprint` LONGTEXT NOT NULL,
  `created_at` DATETIME(3) NOT NULL,
  `updated_at` DATETIME(3) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `vmware_credentials_name_key` (`name`),
  KEY `vmware_credentials_node_name_idx` (`node_name`),
  CONSTRAINT `vmware_credentials_node_name_fkey` FOREIGN KEY (`node_name`) REFERENCES `nodes` (`name`) ON DELETE RESTRICT ON UPDATE RESTRICT
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `vm_replication_contexts` (
  `context_id` VARCHAR(191) NOT NULL,
  `vcenter_id` VARCHAR(191) NULL,
  `moref` LONGTEXT NOT NULL,
  `instance_uuid` VARCHAR(512) NOT NULL,
  `name` VARCHAR(512) NOT NULL,
  `power_state` VARCHAR(191) NOT NULL,
  `host_moref` LONGTEXT NOT NULL,
  `host_name` LONGTEXT NOT NULL,
  `guest_full_name` LONGTEXT NOT NULL,
  `change_tracking_state` VARCHAR(191) NOT NULL DEFAULT 'unknown',
  `change_tracking_detail` LONGTEXT NULL,
  `created_at` DATETIME(3) NOT NULL,
  `updated_at` DATETIME(3) NOT NULL,
  PRIMARY KEY (`context_id`),
  UNIQUE KEY `vm_replication_contexts_vcenter_id_instance_uuid_key` (`vcenter_id`, `instance_uuid`),
  KEY `vm_replication_contexts_instance_uuid_idx` (`instance_uuid`),
  KEY `vm_replication_contexts_name_idx` (`name`),
  KEY `vm_replication_contexts_created_at_context_id_idx` (`created_at`, `context_id`),
  CONSTRAINT `vm_replication_contexts_vcenter_id_fkey` FOREIGN KEY (`vcenter_id`) REFERENCES `vmware_credentials` (`id`) ON DELETE SET NULL ON UPDATE RESTRICT
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `vm_disks` (
  `disk_id` VARCHAR(191) NOT NULL,
  `context_id` VARCHAR(191) NOT NULL,
  `disk_number` INTEGER NOT NULL,
  `disk_key` INTEGER NOT NULL,
  `label` LONGTEXT NOT NULL,
  `backing_uuid` LONGTEXT NOT NULL,
  `backing_file` LONGTEXT NOT NULL,
  `datastore` LONGTEXT NOT NULL,
  `capacity_bytes` BIGINT NOT NULL,
  `controller_key` INTEGER NOT NULL,
  `unit_number` INTEGER NOT NULL,
  `unsupported_reason` LONGTEXT NULL,
  `removed_at` DATETIME(3) NULL,
  PRIMARY KEY (`disk_id`),
  UNIQUE KEY `vm_disks_context_id_disk_number_key` (`context_id`, `disk_number`),
  CONSTRAINT `vm_disks_context_id_fkey` FOREIGN KEY (`context_id`) REFERENCES `vm_replication_contexts` (`context_id`) ON DELETE CASCADE ON UPDATE RESTRICT
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `backup_jobs` (
  `id` VARCHAR(191) NOT NULL,
  `context_id` VARCHAR(191) NOT NULL,
  `active_context_id` VARCHAR(191) NULL,
  `vm_name` VARCHAR(512) NOT NULL,
  `vm_instance_uuid` LONGTEXT NOT NULL,
  `repository_id` VARCHAR(191) NOT NULL,
  `node_name` LONGTEXT NOT NULL,
  `type` VARCHAR(191) NOT NULL,
  `quiesce` TINYINT(1) NOT NULL,
  `requested_by` LONGTEXT NOT NULL,
  `state` VARCHAR(191) NOT NULL,
  `created_at` DATETIME(3) NOT NULL,
  `started_at` DATETIME(3) NULL,
  `ended_at` DATETIME(3) NULL,
  `cancel_reason` LONGTEXT NULL,
  `error` LONGTEXT NULL,
  `warnings` LONGTEXT NOT NULL,
  `last_event_sequence` INTEGER NOT NULL,
  `snapshot_moref` LONGTEXT NULL,
  `snapshot_name` LONGTEXT NULL,
  `snapshot_created_at` DATETIME(3) NULL,
  `snapshot_removed_at` DATETIME(3) NULL,
  `quiesced` TINYINT(1) NULL,
  `quiesce_note` LONGTEXT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `backup_jobs_active_context_id_key` (`active_context_id`),
  KEY `backup_jobs_created_at_id_idx` (`created_at`, `id`),
  KEY `backup_jobs_state_created_at_id_idx` (`state`, `created_at`, `id`),
  KEY `backup_jobs_context_id_created_at_id_idx` (`context_id`, `created_at`, `id`),
  KEY `backup_jobs_vm_name_created_at_id_idx` (`vm_name`, `created_at`, `id`),
  KEY `backup_jobs_repository_id_created_at_id_idx` (`repository_id`, `created_at`, `id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `backup_disks` (
  `backup_id` VARCHAR(191) NOT NULL,
  `disk_key` INTEGER NOT NULL,
  `disk_id` LONGTEXT NOT NULL,
  `disk_number` INTEGER NOT NULL,
  `label` LONGTEXT NOT NULL,
  `backing_uuid` LONGTEXT NOT NULL,
  `capacity_bytes` BIGINT NOT NULL,
  `backup_type` VARCHAR(191) NOT NULL,
  `reason` LONGTEXT NOT NULL,
  `reason_detail` LONGTEXT NULL,
  `parent_point_id` LONGTEXT NULL,
  `previous_change_id` LONGTEXT NULL,
  `change_id` LONGTEXT NULL,
  `status` VARCHAR(191) NOT NULL,
  `qcow2_path` LONGTEXT NULL,
  `nbd_port` INTEGER NULL,
  `nbd_export_name` LONGTEXT NULL,
  `qemu_nbd_pid` INTEGER NULL,
  `error` LONGTEXT NULL,
  `bytes_done` BIGINT NOT NULL,
  `bytes_total` BIGINT NOT NULL,
  `bytes_written` BIGINT NOT NULL,
  `bytes_zeroed` BIGINT NOT NULL,
  `audited_blocks` BIGINT NULL,
  PRIMARY KEY (`backup_id`, `disk_key`),
  CONSTRAINT `backup_disks_backup_id_fkey` FOREIGN KEY (`backup_id`) REFERENCES `backup_jobs` (`id`) ON DELETE CASCADE ON UPDATE RESTRICT
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `restore_points` (
  `id` VARCHAR(191) NOT NULL,
  `context_id` VARCHAR(191) NOT NULL,
  `vm_name` VARCHAR(512) NOT NULL,
  `vm_instance_uuid` LONGTEXT NOT NULL,
  `repository_id` VARCHAR(191) NOT NULL,
  `type` VARCHAR(191) NOT NULL,
  `taken_at` DATETIME(3) NOT NULL,
  `sealed_at` DATETIME(3) NOT NULL,
  `quiesced` TINYINT(1) NOT NULL,
  `manifest_path` LONGTEXT NOT NULL,
  `state` VARCHAR(191) NOT NULL DEFAULT 'sealed',
  `suspect` TINYINT(1) NOT NULL DEFAULT false,
  `suspect_reason` LONGTEXT NULL,
  `verification` VARCHAR(191) NULL,
  `verified_at` DATETIME(3) NULL,
  `verified_full` TINYINT(1) NULL,
  `verification_detail` LONGTEXT NULL,
  `fully_verified_at` DATETIME(3) NULL,
  `held_at` DATETIME(3) NULL,
  `hold_reason` LONGTEXT NULL,
  PRIMARY KEY (`id`),
  KEY `restore_points_taken_at_id_idx` (`taken_at`, `id`),
  KEY `restore_points_context_id_repository_id_taken_at_id_idx` (`context_id`, `repository_id`, `taken_at`, `id`),
  KEY `restore_points_repository_id_taken_at_id_idx` (`repository_id`, `taken_at`, `id`),
  KEY `restore_points_vm_name_taken_at_id_idx` (`vm_name`, `taken_at`, `id`),
  KEY `restore_points_state_fully_verified_at_taken_at_id_idx` (`state`, `fully_verified_at`, `taken_at`, `id`),
  CONSTRAINT `restore_points_context_id_fkey` FOREIGN KEY (`context_id`) REFERENCES `vm_replication_contexts` (`context_id`) ON DELETE RESTRICT ON UPDATE RESTRICT,
  CONSTRAINT `restore_points_repository_id_fkey` FOREIGN KEY (`repository_id`) REFERENCES `repositories` (`id`) ON DELETE RESTRICT ON UPDATE RESTRICT
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `restore_point_disks` (
  `restore_point_id` VARCHAR(191) NOT NULL,
  `disk_number` INTEGER NOT NULL,
  `disk_id` LONGTEXT NOT NULL,
  `disk_key` INTEGER NOT NULL,
  `label` LONGTEXT NOT NULL,
  `backing_uuid` LONGTEXT NOT NULL,
  `capacity_bytes` BIGINT NOT NULL,
  `backup_type` VARCHAR(191) NOT NULL,
  `reason` LONGTEXT NOT NULL,
  `image_path` LONGTEXT NOT NULL,
  `hashes_path` LONGTEXT NULL,
  `change_id` LONGTEXT NULL,
  `parent_point_id` VARCHAR(191) NULL,
  `bytes_read` BIGINT NOT NULL,
  `stored_bytes` BIGINT NOT NULL,
  PRIMARY KEY (`restore_point_id`, `disk_number`),
  KEY `restore_point_disks_parent_point_id_idx` (`parent_point_id`),
  CONSTRAINT `restore_point_disks_restore_point_id_fkey` FOREIGN KEY (`restore_point_id`) REFERENCES `restore_points` (`id`) ON DELETE CASCADE ON UPDATE RESTRICT,
  CONSTRAINT `restore_point_disks_parent_point_id_fkey` FOREIGN KEY (`parent_point_id`) REFERENCES `restore_points` (`id`) ON DELETE RESTRICT ON UPDATE RESTRICT
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `restore_mounts` (
  `id` VARCHAR(191) NOT NULL,
  `restore_point_id` VARCHAR(191) NOT NULL,
  `disk_id` LONGTEXT NOT NULL,
  `mount_path` LONGTEXT NOT NULL,
  `created_at` DATETIME(3) NOT NULL,
  `expires_at` DATETIME(3) NOT NULL,
  PRIMARY KEY (`id`),
  KEY `restore_mounts_restore_point_id_idx` (`restore_point_id`),
  CONSTRAINT `restore_mounts_restore_point_id_fkey` FOREIGN KEY (`restore_point_id`) REFERENCES `restore_points` (`id`) ON DELETE RESTRICT ON UPDATE RESTRICT
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `audit_events` (
  `id` INTEGER NOT NULL AUTO_INCREMENT,
  `at` DATETIME(3) NOT NULL,
  `action` VARCHAR(512) NOT NULL,
  `actor` VARCHAR(512) NOT NULL,
  `outcome` VARCHAR(191) NOT NULL,
  `subject_type` VARCHAR(191) NULL,
  `subject_id` VARCHAR(512) NULL,
  `remote_address` LONGTEXT NULL,
  `detail` LONGTEXT NOT NULL,
  PRIMARY KEY (`id`),
  KEY `audit_events_subject_type_subject_id_id_idx` (`subject_type`, `subject_id`, `id`),
  KEY `audit_events_action_id_idx` (`action`, `id`),
  KEY `audit_events_actor_id_idx` (`actor`, `id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `api_tokens` (
  `id` VARCHAR(191) NOT NULL,
  `name` LONGTEXT NOT NULL,
  `role` VARCHAR(191) NOT NULL,
  `token_hash` VARCHAR(191) NOT NULL,
  `created_at` DATETIME(3) NOT NULL,
  `last_used_at` DATETIME(3) NULL,
  `revoked_at` DATETIME(3) NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `api_tokens_token_hash_key` (`token_hash`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `cleanups` (
  `id` INTEGER NOT NULL AUTO_INCREMENT,
  `what` VARCHAR(191) NOT NULL,
  `args` LONGTEXT NOT NULL,
  `args_hash` VARCHAR(191) NOT NULL,
  `backup_id` LONGTEXT NULL,
  `attempts` INTEGER NOT NULL,
  `next_try_at` DATETIME(3) NOT NULL,
  `last_error` LONGTEXT NULL,
  `created_at` DATETIME(3) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `cleanups_args_hash_key` (`args_hash`),
  KEY `cleanups_next_try_at_idx` (`next_try_at`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `chain_locks` (
  `id` INTEGER NOT NULL AUTO_INCREMENT,
  `context_id` VARCHAR(191) NOT NULL,
  `repository_id` VARCHAR(191) NOT NULL,
  `mode` VARCHAR(191) NOT NULL,
  `purpose` LONGTEXT NOT NULL,
  `holder_id` VARCHAR(191) NOT NULL,
  `acquired_at` DATETIME(3) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `chain_locks_context_id_repository_id_holder_id_key` (`context_id`, `repository_id`, `holder_id`),
  KEY `chain_locks_holder_id_idx` (`holder_id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `tasks` (
  `id` VARCHAR(191) NOT NULL,
  `kind` VARCHAR(191) NOT NULL,
  `subject_type` VARCHAR(32) NOT NULL,
  `subject_id` VARCHAR(512) NOT NULL,
  `args` LONGTEXT NOT NULL,
  `requested_by` LONGTEXT NOT NULL,
  `state` VARCHAR(191) NOT NULL,
  `created_at` DATETIME(3) NOT NULL,
  `started_at` DATETIME(3) NULL,
  `ended_at` DATETIME(3) NULL,
  `cancel_reason` LONGTEXT NULL,
  `bytes_done` BIGINT NULL,
  `bytes_total` BIGINT NULL,
  `error` LONGTEXT NULL,
  `result` LONGTEXT NULL,
  PRIMARY KEY (`id`),
  KEY `tasks_created_at_id_idx` (`created_at`, `id`),
  KEY `tasks_state_created_at_id_idx` (`state`, `created_at`, `id`),
  KEY `tasks_kind_created_at_id_idx` (`kind`, `created_at`, `id`),
  KEY `tasks_subject_type_subject_id_created_at_id_idx` (`subject_type`, `subject_id`, `created_at`, `id`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS `retention_policies` (
  `id` INTEGER NOT NULL AUTO_INCREMENT,
  `context_id` VARCHAR(191) NULL,
  `repository_id` VARCHAR(191) NULL,
  `keep_last` INTEGER NOT NULL,
  `daily` INTEGER NOT NULL,
  `weekly` INTEGER NOT NULL,
  `monthly` INTEGER NOT NULL,
  `yearly` INTEGER NOT NULL,
  `time_zone` VARCHAR(191) NULL,
  `updated_at` DATETIME(3) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `retention_policies_context_id_key` (`context_id`),
  UNIQUE KEY `retention_policies_repository_id_key` (`repository_id`),
  CONSTRAINT `retention_policies_context_id_fkey` FOREIGN KEY (`context_id`) REFERENCES `vm_replication_contexts` (`context_id`) ON DELETE CASCADE ON UPDATE RESTRICT,
  CONSTRAINT `retention_policies_repository_id_fkey` FOREIGN KEY (`repository_id`) REFERENCES `repositories` (`id`) ON DELETE CASCADE ON UPDATE RESTRICT
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;
