"""An independent client of the lab's vSphere API: VMware's own pyvmomi. Prints what it saw as one JSON object.

Arguments: host port user password-file vm-name guest-write-command
"""

import json
import ssl
import subprocess
import sys

from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

host, port, user, password_file, vm_name, *guest_write = sys.argv[1:]
with open(password_file) as file:
    password = file.read().rstrip("\n")
unverified = ssl._create_unverified_context()
seen = {}


def connect(secret):
    return SmartConnect(host=host, port=int(port), user=user, pwd=secret, sslContext=unverified)


def fault_of(action):
    try:
        action()
    except vmodl.MethodFault as fault:
        return type(fault).__name__.rsplit(".", 1)[-1]
    return None


def disks_of(config):
    return [
        {
            "key": device.key,
            "label": device.deviceInfo.label,
            "file": device.backing.fileName,
            "uuid": device.backing.uuid,
            "change_id": device.backing.changeId,
            "capacity": device.capacityInBytes,
            "controller": device.controllerKey,
            "unit": device.unitNumber,
            "mode": device.backing.diskMode,
        }
        for device in config.hardware.device
        if isinstance(device, vim.vm.device.VirtualDisk)
    ]


def changed_areas(vm, snapshot, key, capacity, change_id):
    areas, offset, pages = [], 0, 0
    while offset < capacity:
        reply = vm.QueryChangedDiskAreas(snapshot, key, offset, change_id)
        assert reply.startOffset == offset, (reply.startOffset, offset)
        assert len(reply.changedArea) <= 2000
        areas += [[area.start, area.length] for area in reply.changedArea]
        offset += reply.length
        pages += 1
    assert offset == capacity
    return {"areas": areas, "pages": pages}


def take_snapshot(vm, name, quiesce=False):
    task = vm.CreateSnapshot_Task(name=name, description="of the test", memory=False, quiesce=quiesce)
    WaitForTask(task)
    assert task.info.state == "success" and task.info.entityName == vm.name
    return task.info.result


seen["wrong_password"] = fault_of(lambda: connect("wrong"))

service = connect(password)
content = service.RetrieveContent()
seen["about"] = [content.about.apiType, content.about.fullName]
seen["session"] = content.sessionManager.currentSession.userName

# The inventory, in the three ways that clients have: by views, by walking, by search.
view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
seen["names"] = sorted(machine.name for machine in view.view)
vm = next(machine for machine in view.view if machine.name == vm_name)
view.Destroy()
traversal = vmodl.query.PropertyCollector.TraversalSpec
to_folders = traversal(name="folders", type=vim.Folder, path="childEntity", skip=False)
to_vms = traversal(name="datacenters", type=vim.Datacenter, path="vmFolder", skip=False)
selections = [vmodl.query.PropertyCollector.SelectionSpec(name=name) for name in ("folders", "datacenters")]
to_folders.selectSet = selections
to_vms.selectSet = selections
spec = vmodl.query.PropertyCollector.FilterSpec(
    objectSet=[
        vmodl.query.PropertyCollector.ObjectSpec(obj=content.rootFolder, skip=False, selectSet=[to_folders, to_vms])
    ],
    propSet=[
        vmodl.query.PropertyCollector.PropertySpec(
            type=vim.VirtualMachine,
            pathSet=["name", "config.instanceUuid", "config.hardware.device[2000].backing.uuid", "snapshot"],
        )
    ],
)
page = content.propertyCollector.RetrieveContents([spec])
seen["walked"] = sorted([{p.name: p.val for p in found.propSet}["name"] for found in page])
pages = [
    content.propertyCollector.RetrievePropertiesEx(
        [spec], vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=1)
    )
]
while pages[-1].token:
    pages.append(content.propertyCollector.ContinueRetrievePropertiesEx(pages[-1].token))
seen["pages"] = [len(one.objects) for one in pages]
spec.propSet[0].pathSet = ["config.hardware", "confg"]
seen["unknown_property"] = fault_of(lambda: content.propertyCollector.RetrieveContents([spec]))
seen["found_by_path"] = content.searchIndex.FindByInventoryPath("DC0/vm/" + vm_name) == vm
seen["found_by_uuid"] = content.searchIndex.FindByUuid(None, vm.config.instanceUuid, True, True) == vm

seen["vm"] = {
    "power": vm.runtime.powerState,
    "host": vm.runtime.host.name,
    "datastores": [store.name for store in vm.datastore],
    "tools": vm.guest.toolsRunningStatus,
    "version": vm.config.version,
    "tracking_supported": vm.capability.changeTrackingSupported,
    "tracking_enabled": vm.config.changeTrackingEnabled,
    "snapshot": vm.snapshot,
    "virtual_disks": vm.summary.config.numVirtualDisks,
    "consolidation_needed": vm.runtime.consolidationNeeded,
}
seen["disks"] = disks_of(vm.config)

# Change tracking starts with the stun of a snapshot that is created and removed.
WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
seen["tracking_enabled"] = vm.config.changeTrackingEnabled
stun = take_snapshot(vm, "stun")
seen["change_ids_before_stun"] = [disk["change_id"] for disk in disks_of(stun.config)]
WaitForTask(stun.RemoveSnapshot_Task(removeChildren=False))
seen["file_after_removal"] = disks_of(vm.config)[0]["file"]

first = take_snapshot(vm, "first", quiesce=True)
tree = vm.snapshot.rootSnapshotList
seen["tree"] = [[node.name, node.description, node.quiesced, node.snapshot == first] for node in tree]
seen["current"] = vm.snapshot.currentSnapshot == first
first_disks = disks_of(first.config)
seen["snapshot_files"] = [disk["file"] for disk in first_disks]
seen["vm_files"] = [disk["file"] for disk in disks_of(vm.config)]
disk = first_disks[0]
seen["allocated"] = changed_areas(vm, first, disk["key"], disk["capacity"], "*")
subprocess.run(guest_write, check=True, stdout=subprocess.DEVNULL)
seen["changed_in_first"] = changed_areas(vm, first, disk["key"], disk["capacity"], disk["change_id"])

# While one task works on a VM there is no second one.
busy = vm.CreateSnapshot_Task(name="second", description="", memory=False, quiesce=False)
seen["concurrent"] = fault_of(lambda: vm.CreateSnapshot_Task(name="third", description="", memory=False, quiesce=False))
WaitForTask(busy)
second = busy.info.result
seen["changed"] = changed_areas(vm, second, disk["key"], disk["capacity"], disk["change_id"])
foreign = "52 00 00 00 00 00 00 00-00 00 00 00 00 00 00 00/1"
query = vm.QueryChangedDiskAreas
seen["faults"] = {
    "foreign": fault_of(lambda: query(second, disk["key"], 0, foreign)),
    "malformed": fault_of(lambda: query(second, disk["key"], 0, "nonsense")),
    "no_such_disk": fault_of(lambda: query(second, 4711, 0, "*")),
    "beyond_end": fault_of(lambda: query(second, disk["key"], disk["capacity"], "*")),
}
WaitForTask(first.RemoveSnapshot_Task(removeChildren=False))
seen["removed_snapshot"] = fault_of(lambda: query(first, disk["key"], 0, "*"))
WaitForTask(vm.RemoveAllSnapshots_Task())
seen["snapshot_after_all"] = vm.snapshot
seen["files_after_all"] = [one["file"] for one in disks_of(vm.config)]
seen["power_fault"] = fault_of(lambda: vm.PowerOn())

# A session that has ended, then a new one over the same objects.
key = content.sessionManager.currentSession.key
other = connect(password)
other.content.sessionManager.TerminateSession([key])
seen["stale_session"] = fault_of(lambda: vm.name)
content.sessionManager.Login(user, password)
seen["after_login"] = vm.name
other.content.sessionManager.Logout()
Disconnect(service)

print(json.dumps(seen, default=str))
