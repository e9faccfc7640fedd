/*
 * A stand-in for VMware's libvixDiskLib, for the lab only: it serves the lab's own disks, read-only, to nbdkit's vddk
 * plugin. Functions, order of calls and structures are those of VDDK 8.
 */
#include <stdlib.h>
#include <string.h>

#include "lab.h"

/* More than this in one read ends in "NFC error 5" on real hosts that are reached through vCenter. */
#define LARGEST_READ_BYTES (2u << 20)

EXPORTED VixError VixDiskLib_InitEx(uint32_t major, uint32_t minor, VixDiskLibGenericLogFunc *info,
                                    VixDiskLibGenericLogFunc *warning, VixDiskLibGenericLogFunc *panic,
                                    const char *libdir, const char *config)
{
  (void)panic, (void)libdir, (void)config;
  log_functions(info, warning);
  log_info("VixDiskLib: stand-in of the lab, asked for version %u.%u", major, minor);
  return strike(FAULT_INIT, NULL, -1, 0, 0);
}

EXPORTED void VixDiskLib_Exit(void)
{
  stop_pool();
}

EXPORTED char *VixDiskLib_GetErrorText(VixError error, const char *locale)
{
  (void)locale;
  return strdup(error_text(error));
}

EXPORTED void VixDiskLib_FreeErrorText(char *text)
{
  free(text);
}

EXPORTED VixDiskLibConnectParams *VixDiskLib_AllocateConnectParams(void)
{
  return calloc(1, sizeof(VixDiskLibConnectParams));
}

EXPORTED void VixDiskLib_FreeConnectParams(VixDiskLibConnectParams *params)
{
  free(params);
}

EXPORTED const char *VixDiskLib_ListTransportModes(void)
{
  return "nbdssl:nbd";
}

/* The first of the wanted modes that there is, as a new string; NULL when there is none of them. */
static char *choose_transport(const char *wanted)
{
  char *copy = strdup(wanted == NULL || *wanted == '\0' ? VixDiskLib_ListTransportModes() : wanted), *rest = copy;
  char *chosen = NULL, *mode;
  while (chosen == NULL && rest != NULL && (mode = strsep(&rest, ":")) != NULL)
    if (strcmp(mode, "nbdssl") == 0 || strcmp(mode, "nbd") == 0)
      chosen = strdup(mode);
  free(copy);
  return chosen;
}

EXPORTED VixError VixDiskLib_Disconnect(struct connection *connection)
{
  free(connection->vm);
  free(connection->snapshot);
  free(connection->transport);
  free(connection);
  return VIX_OK;
}

EXPORTED VixError VixDiskLib_ConnectEx(const VixDiskLibConnectParams *params, char read_only, const char *snapshot,
                                       const char *transports, struct connection **connection)
{
  const char *vm = params->vmxSpec;
  if (!read_only || vm == NULL || strncmp(vm, "moref=", 6) != 0 || !is_moref(vm + 6))
    return VIX_E_INVALID_ARG;
  vm += 6;
  VixError error = strike(FAULT_CONNECT, vm, -1, 0, 0);
  if (error == VIX_OK)
    error = check_login(params);
  if (error != VIX_OK)
    return error;
  if (!vm_exists(vm))
    return VIX_E_VM_NOT_FOUND;
  struct connection *made = calloc(1, sizeof *made);
  if (made == NULL)
    return VIX_E_OUT_OF_MEMORY;
  made->vm = strdup(vm);
  made->snapshot = snapshot == NULL ? NULL : strdup(snapshot);
  made->transport = choose_transport(transports);
  *connection = made;
  return VIX_OK;
}

EXPORTED VixError VixDiskLib_Open(const struct connection *connection, const char *path, uint32_t flags,
                                  struct handle **handle)
{
  (void)flags;
  struct disk *disk;
  if (connection->transport == NULL) {
    log_warning("VixDiskLib: none of the requested transport modes is available");
    return VIX_E_FILE_ACCESS_ERROR;
  }
  if (connection->snapshot == NULL) {
    log_warning("VixDiskLib: %s is in use by its virtual machine: open it from a snapshot", path);
    return VIX_E_FILE_ACCESS_ERROR;
  }
  if (!is_moref(connection->snapshot))
    return VIX_E_SNAPSHOT_NOTFOUND;
  VixError error = open_disk(connection->vm, connection->snapshot, path, &disk);
  if (error != VIX_OK)
    return error;
  error = strike(FAULT_OPEN, connection->vm, disk->key, 0, 0);
  struct handle *made = error == VIX_OK ? calloc(1, sizeof *made) : NULL;
  if (made == NULL) {
    close_disk(disk);
    return error == VIX_OK ? VIX_E_OUT_OF_MEMORY : error;
  }
  made->disk = disk;
  made->connection = connection;
  pthread_mutex_init(&made->lock, NULL);
  pthread_cond_init(&made->idle, NULL);
  *handle = made;
  return VIX_OK;
}

EXPORTED const char *VixDiskLib_GetTransportMode(struct handle *handle)
{
  return handle->connection->transport;
}

EXPORTED VixError VixDiskLib_Wait(struct handle *handle)
{
  pthread_mutex_lock(&handle->lock);
  while (handle->in_flight > 0)
    pthread_cond_wait(&handle->idle, &handle->lock);
  pthread_mutex_unlock(&handle->lock);
  return VIX_OK;
}

EXPORTED VixError VixDiskLib_Close(struct handle *handle)
{
  VixDiskLib_Wait(handle);
  pthread_mutex_destroy(&handle->lock);
  pthread_cond_destroy(&handle->idle);
  close_disk(handle->disk);
  free(handle);
  return VIX_OK;
}

EXPORTED VixError VixDiskLib_GetInfo(struct handle *handle, VixDiskLibInfo **info)
{
  const struct disk *disk = handle->disk;
  *info = calloc(1, sizeof **info);
  if (*info == NULL)
    return VIX_E_OUT_OF_MEMORY;
  (*info)->capacity = disk->capacity / SECTOR_BYTES;
  (*info)->adapterType = VIXDISKLIB_ADAPTER_SCSI_LSILOGIC;
  (*info)->numLinks = disk->layer_count;
  (*info)->uuid = strdup(disk->uuid);
  (*info)->logicalSectorSize = SECTOR_BYTES;
  (*info)->physicalSectorSize = SECTOR_BYTES;
  return VIX_OK;
}

EXPORTED void VixDiskLib_FreeInfo(VixDiskLibInfo *info)
{
  free(info->uuid);
  free(info);
}

static VixError check_range(const struct handle *handle, uint64_t start_sector, uint64_t sectors)
{
  const uint64_t capacity = handle->disk->capacity / SECTOR_BYTES;
  if (start_sector > capacity || sectors > capacity - start_sector)
    return VIX_E_DISK_OUTOFRANGE;
  if (sectors > LARGEST_READ_BYTES / SECTOR_BYTES) {
    log_warning("VixDiskLib: NFC error 5: a read of %llu bytes does not fit into the host's buffers",
                (unsigned long long)(sectors * SECTOR_BYTES));
    return VIX_E_FAIL;
  }
  return VIX_OK;
}

static VixError read_now(const struct handle *handle, uint64_t offset, uint64_t length, uint8_t *into)
{
  const struct disk *disk = handle->disk;
  VixError error = strike(FAULT_READ, handle->connection->vm, disk->key, offset, length);
  if (error == VIX_OK)
    error = read_disk(disk, offset, length, into);
  /* Once the snapshot is removed its layers are written to: what was read may be mixed. */
  if (error == VIX_OK && *disk->alive != 1)
    error = VIX_E_SNAPSHOT_NOTFOUND;
  return error;
}

EXPORTED VixError VixDiskLib_Read(struct handle *handle, uint64_t start_sector, uint64_t sectors, uint8_t *into)
{
  VixError error = check_range(handle, start_sector, sectors);
  return error == VIX_OK ? read_now(handle, start_sector * SECTOR_BYTES, sectors * SECTOR_BYTES, into) : error;
}

EXPORTED VixError VixDiskLib_ReadAsync(struct handle *handle, uint64_t start_sector, uint64_t sectors, uint8_t *into,
                                       VixDiskLibCompletionCB done, void *done_data)
{
  VixError error = check_range(handle, start_sector, sectors);
  if (error != VIX_OK)
    return error;
  struct read_request *request = malloc(sizeof *request);
  if (request == NULL)
    return VIX_E_OUT_OF_MEMORY;
  *request = (struct read_request){
      .handle = handle,
      .offset = start_sector * SECTOR_BYTES,
      .length = sectors * SECTOR_BYTES,
      .into = into,
      .done = done,
      .done_data = done_data,
  };
  pthread_mutex_lock(&handle->lock);
  handle->in_flight++;
  pthread_mutex_unlock(&handle->lock);
  error = submit(request);
  if (error == VIX_OK)
    return VIX_ASYNC;
  pthread_mutex_lock(&handle->lock);
  handle->in_flight--;
  pthread_mutex_unlock(&handle->lock);
  return error;
}

void complete(struct read_request *request)
{
  struct handle *handle = request->handle;
  request->done(request->done_data, read_now(handle, request->offset, request->length, request->into));
  pthread_mutex_lock(&handle->lock);
  if (--handle->in_flight == 0)
    pthread_cond_broadcast(&handle->idle);
  pthread_mutex_unlock(&handle->lock);
}

/* The plugin insists on these; the lab's snapshots cannot be written. */

EXPORTED VixError VixDiskLib_Write(struct handle *handle, uint64_t start_sector, uint64_t sectors, const uint8_t *from)
{
  (void)handle, (void)start_sector, (void)sectors, (void)from;
  return VIX_E_FILE_READ_ONLY;
}

EXPORTED VixError VixDiskLib_WriteAsync(struct handle *handle, uint64_t start_sector, uint64_t sectors,
                                        const uint8_t *from, VixDiskLibCompletionCB done, void *done_data)
{
  (void)done, (void)done_data;
  return VixDiskLib_Write(handle, start_sector, sectors, from);
}

EXPORTED VixError VixDiskLib_Flush(struct handle *handle)
{
  (void)handle;
  return VIX_OK;
}

EXPORTED VixError VixDiskLib_Create(struct connection *connection, const char *path, const void *parameters,
                                    void *progress, void *progress_data)
{
  (void)connection, (void)path, (void)parameters, (void)progress, (void)progress_data;
  return VIX_E_NOT_SUPPORTED;
}
