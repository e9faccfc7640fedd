CREATE TABLE IF NOT EXISTS `tallies` (
  `name` VARCHAR(512) NOT NULL,
  `value` INTEGER NOT NULL,
  PRIMARY KEY (`name`)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE INDEX IF NOT EXISTS `backup_jobs_repository_id_state_created_at_id_idx` ON `backup_jobs` (`repository_id`, `state`, `created_at`, `id`);
-- Actions are words of ours; two texts of 512 characters do not fit into one index.
ALTER TABLE `audit_events` MODIFY `action` VARCHAR(191) NOT NULL;
CREATE INDEX IF NOT EXISTS `audit_events_actor_action_id_idx` ON `audit_events` (`actor`, `action`, `id`);
CREATE INDEX IF NOT EXISTS `audit_events_actor_subject_type_id_idx` ON `audit_events` (`actor`, `subject_type`, `id`);
CREATE INDEX IF NOT EXISTS `audit_events_subject_id_id_idx` ON `audit_events` (`subject_id`, `id`);
CREATE INDEX IF NOT EXISTS `audit_events_at_id_idx` ON `audit_events` (`at`, `id`);
CREATE INDEX IF NOT EXISTS `tasks_kind_state_created_at_id_idx` ON `tasks` (`kind`, `state`, `created_at`, `id`);

-- What is there already.
REPLACE INTO tallies (name, value)
  SELECT CONCAT('restore_points/', repository_id), COUNT(*) FROM restore_points GROUP BY repository_id;
REPLACE INTO tallies (name, value)
  SELECT CONCAT('backups/', state), COUNT(*) FROM backup_jobs WHERE state IN ('completed', 'failed', 'cancelled')
  GROUP BY state;
REPLACE INTO tallies (name, value)
  SELECT CONCAT('tasks/', kind, '/', state), COUNT(*) FROM tasks WHERE state IN ('completed', 'failed', 'cancelled')
  GROUP BY kind, state;
