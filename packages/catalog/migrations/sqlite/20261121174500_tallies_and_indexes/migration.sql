-- CreateTable
CREATE TABLE "tallies" (
    "name" TEXT NOT NULL PRIMARY KEY,
    "value" INTEGER NOT NULL
);

-- CreateIndex
CREATE INDEX "backup_jobs_repository_id_state_created_at_id_idx" ON "backup_jobs"("repository_id", "state", "created_at", "id");

-- CreateIndex
CREATE INDEX "audit_events_actor_action_id_idx" ON "audit_events"("actor", "action", "id");

-- CreateIndex
CREATE INDEX "audit_events_actor_subject_type_id_idx" ON "audit_events"("actor", "subject_type", "id");

-- CreateIndex
CREATE INDEX "audit_events_subject_id_id_idx" ON "audit_events"("subject_id", "id");

-- CreateIndex
CREATE INDEX "audit_events_at_id_idx" ON "audit_events"("at", "id");

-- CreateIndex
CREATE INDEX "tasks_kind_state_created_at_id_idx" ON "tasks"("kind", "state", "created_at", "id");

-- What is there already.
INSERT INTO tallies (name, value)
  SELECT 'restore_points/' || repository_id, COUNT(*) FROM restore_points GROUP BY repository_id;
INSERT INTO tallies (name, value)
  SELECT 'backups/' || state, COUNT(*) FROM backup_jobs WHERE state IN ('completed', 'failed', 'cancelled')
  GROUP BY state;
INSERT INTO tallies (name, value)
  SELECT 'tasks/' || kind || '/' || state, COUNT(*) FROM tasks WHERE state IN ('completed', 'failed', 'cancelled')
  GROUP BY kind, state;
