/* What the parts of the stand-in library offer each other. */
#ifndef LAB_H
#define LAB_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vix.h"

/* The unit in which the lab's disks are allocated, and tracked by changed block tracking. */
#define GRAIN_BYTES 65536u
#define GRAIN_SECTORS (GRAIN_BYTES / SECTOR_BYTES)

/* log.c */
void log_functions(VixDiskLibGenericLogFunc *info, VixDiskLibGenericLogFunc *warning);
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The plugin passes warnings on to its stderr even without debugging. */
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *error_text(VixError error);

/* directory.c: what the lab publishes in the directory that LAB_VDDK_DIR names */

/* One redo-log layer of a disk: a sparse raw file and a map with one byte for each of its grains. */
struct layer {
  uint64_t size;
  int data;
  int map_file;
  const uint8_t *map;
  uint64_t grains;
};

struct disk {
  int64_t key;
  uint64_t capacity; /* bytes */
  char *uuid;
  struct layer *layers; /* the newest first */
  int layer_count;
  /* 1 while the snapshot exists; its content is nobody's any more afterwards. Shared with the lab. */
  const volatile uint8_t *alive;
};

/* Whether the lab knows this server, user and so on; logs the reason when not. */
VixError check_login(const VixDiskLibConnectParams *params);
bool is_moref(const char *text);
/* Whether the lab has such a VM. */
bool vm_exists(const char *vm);
VixError open_disk(const char *vm, const char *snapshot, const char *path, struct disk **disk);
void close_disk(struct disk *disk);

/* layers.c: reading a chain of layers */

VixError read_disk(const struct disk *disk, uint64_t offset, uint64_t length, uint8_t *into);
/* The next allocated grain from `grain` on that is smaller than `end`; `end` when there is none. */
uint64_t next_allocated(const struct disk *disk, uint64_t grain, uint64_t end);
bool is_allocated(const struct disk *disk, uint64_t grain);

/* faults.c: the lab's orders to misbehave */

enum fault_place { FAULT_INIT = 1, FAULT_CONNECT = 2, FAULT_OPEN = 3, FAULT_READ = 4, FAULT_ALLOCATED = 5 };

/* Delays, crashes, or returns the error that is to be answered; VIX_OK when nothing is ordered. */
VixError strike(enum fault_place place, const char *vm, int64_t disk_key, uint64_t offset, uint64_t length);

/* pool.c: threads that complete asynchronous reads */

struct read_request {
  struct read_request *next;
  struct handle *handle;
  uint64_t offset;
  uint64_t length;
  uint8_t *into;
  VixDiskLibCompletionCB done;
  void *done_data;
};

/* Takes ownership of the request. */
VixError submit(struct read_request *request);
/* Ends the threads; nothing may be in flight. */
void stop_pool(void);

/* library.c */

struct connection {
  char *vm;
  char *snapshot;
  char *transport;
};

struct handle {
  struct disk *disk;
  const struct connection *connection;
  pthread_mutex_t lock;
  pthread_cond_t idle;
  int in_flight;
};

void complete(struct read_request *request);

#endif
