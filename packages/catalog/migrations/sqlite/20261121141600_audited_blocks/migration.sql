-- AlterTable
ALTER TABLE "backup_disks" ADD COLUMN "audited_blocks" BIGINT;

