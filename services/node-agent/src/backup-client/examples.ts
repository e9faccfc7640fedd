export const BACKUP_EXAMPLES = `
The targets must be empty images of the disks' exact sizes; for --previous-change-ids, overlays on the previous image.
When vCenter cannot tell what changed since then, that disk is read in full and says so: its image is right once its
backing file is cut off (qemu-img rebase -u -b '' IMAGE).

Examples:
  qemu-img create -f qcow2 disk0.qcow2 107374182400
  qemu-nbd -t -x disk0 -b 127.0.0.1 -p 10809 --discard=unmap --detect-zeroes=unmap -f qcow2 disk0.qcow2 &

  sendense-backup-client backup \\
    --vmware-endpoint https://vcenter.example.com --vmware-username backup@vsphere.local \\
    --vmware-password-file password.txt --vmware-thumbprint 3F:0A:… \\
    --vmware-path /DC/vm/pgtest1 --nbd-targets 2000:nbd://127.0.0.1:10809/disk0 --job-id by-hand-1

Exit code: 0 the copy is whole · 1 it is not · 2 wrong call.
SIGINT and SIGTERM stop the backup in order: its snapshot is removed.`;
