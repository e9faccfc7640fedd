/*
 * The part of libvixDiskLib's binary interface (VDDK 8, x86-64) that nbdkit's vddk plugin uses. The layouts are checked
 * below: the plugin was compiled against VMware's own header and allocates some of these structures itself.
 */
#ifndef LAB_VIX_H
#define LAB_VIX_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t VixError;

/* The numbers are VMware's. */
enum {
  VIX_OK = 0,
  VIX_E_FAIL = 1,
  VIX_E_OUT_OF_MEMORY = 2,
  VIX_E_INVALID_ARG = 3,
  VIX_E_FILE_NOT_FOUND = 4,
  VIX_E_NOT_SUPPORTED = 6,
  VIX_E_FILE_ERROR = 7,
  VIX_E_FILE_READ_ONLY = 11,
  VIX_E_FILE_ACCESS_ERROR = 13,
  VIX_E_HOST_USER_PERMISSIONS = 3014,
  VIX_E_VM_NOT_FOUND = 4000,
  VIX_E_SNAPSHOT_NOTFOUND = 13003,
  VIX_E_HOST_SERVER_NOT_FOUND = 14008,
  VIX_E_HOST_NETWORK_CONN_REFUSED = 14009,
  VIX_E_HOST_TCP_CONN_LOST = 14011,
  VIX_E_DISK_OUTOFRANGE = 16007,
  VIX_E_CANNOT_CONNECT_TO_HOST = 18000,
  VIX_E_NET_HTTP_SSL_SECURITY = 30201,
  VIX_ASYNC = 25000,
};

enum { VIXDISKLIB_CRED_UID = 1 };
enum { VIXDISKLIB_ADAPTER_SCSI_LSILOGIC = 3 };

#define SECTOR_BYTES 512u

typedef void VixDiskLibGenericLogFunc(const char *format, va_list arguments);
typedef void (*VixDiskLibCompletionCB)(void *data, VixError result);

typedef struct {
  char *vmxSpec; /* "moref=vm-57" */
  char *serverName;
  char *thumbPrint;
  long reserved1;
  uint32_t credType;
  union {
    struct {
      char *userName;
      char *password;
    } uid;
    char *sessionId[3];
  } creds;
  uint32_t port;
  uint32_t nfcHostPort;
  char *reserved2[3];
  char *storageObject[3];
  uint32_t specType;
} VixDiskLibConnectParams;

typedef struct {
  uint32_t biosGeometry[3];
  uint32_t physicalGeometry[3];
  uint64_t capacity; /* sectors */
  uint32_t adapterType;
  int numLinks;
  char *parentFileNameHint;
  char *uuid;
  uint32_t logicalSectorSize;
  uint32_t physicalSectorSize;
} VixDiskLibInfo;

typedef struct {
  uint64_t offset; /* sectors */
  uint64_t length; /* sectors */
} VixDiskLibBlock;

typedef struct {
  uint32_t numBlocks;
  VixDiskLibBlock blocks[];
} VixDiskLibBlockList;

_Static_assert(sizeof(VixDiskLibConnectParams) == 128, "size of the connect parameters");
_Static_assert(offsetof(VixDiskLibConnectParams, credType) == 32, "credType");
_Static_assert(offsetof(VixDiskLibConnectParams, creds) == 40, "creds");
_Static_assert(offsetof(VixDiskLibConnectParams, port) == 64, "port");
_Static_assert(offsetof(VixDiskLibConnectParams, specType) == 120, "specType");
_Static_assert(sizeof(VixDiskLibInfo) == 64, "size of the disk's description");
_Static_assert(offsetof(VixDiskLibInfo, capacity) == 24, "capacity");
_Static_assert(offsetof(VixDiskLibInfo, uuid) == 48, "uuid");
_Static_assert(offsetof(VixDiskLibBlockList, blocks) == 8, "blocks");

#endif
