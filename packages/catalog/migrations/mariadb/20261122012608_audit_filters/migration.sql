-- Types are words of ours; with 191 characters, the index over three of the columns would be too long.
ALTER TABLE `audit_events` MODIFY `subject_type` VARCHAR(60) NULL;
CREATE INDEX IF NOT EXISTS `audit_events_subject_type_id_idx` ON `audit_events` (`subject_type`, `id`);
CREATE INDEX IF NOT EXISTS `audit_events_action_subject_type_id_idx` ON `audit_events` (`action`, `subject_type`, `id`);
CREATE INDEX IF NOT EXISTS `audit_events_actor_action_subject_type_id_idx` ON `audit_events` (`actor`, `action`, `subject_type`, `id`);
DROP INDEX IF EXISTS `audit_events_subject_type_subject_id_id_idx` ON `audit_events`;
