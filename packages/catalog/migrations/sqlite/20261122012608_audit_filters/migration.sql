-- DropIndex
DROP INDEX "audit_events_subject_type_subject_id_id_idx";

-- CreateIndex
CREATE INDEX "audit_events_subject_type_id_idx" ON "audit_events"("subject_type", "id");

-- CreateIndex
CREATE INDEX "audit_events_action_subject_type_id_idx" ON "audit_events"("action", "subject_type", "id");

-- CreateIndex
CREATE INDEX "audit_events_actor_action_subject_type_id_idx" ON "audit_events"("actor", "action", "subject_type", "id");
