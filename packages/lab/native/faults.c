/*
 * The lab's orders to misbehave: a table in the file `faults` of the lab's directory, shared by all processes. The lab
 * fills slots; the counters are taken down here, atomically, so that "twice" means twice over all disks and processes.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lab.h"

#define SLOTS 64

/* src/vddk/fault-table.ts writes the same layout. */
struct slot {
  _Atomic uint32_t place; /* 0: free; the lab writes it last */
  uint32_t crash;
  _Atomic int64_t times; /* how often it still strikes; negative: for ever */
  _Atomic int64_t after; /* how many it lets pass first */
  _Atomic uint64_t struck;
  uint64_t error;
  uint64_t delay_ms;
  int64_t disk_key; /* negative: any */
  uint64_t offset;
  uint64_t length; /* 0: anywhere */
  char vm[56];     /* empty: any */
};
_Static_assert(sizeof(struct slot) == 128, "size of a slot");

static struct slot *map_table(void)
{
  char path[4096];
  struct stat status;
  const char *directory = getenv("LAB_VDDK_DIR");
  if (directory == NULL)
    return NULL;
  snprintf(path, sizeof path, "%s/faults", directory);
  int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0)
    return NULL;
  void *table = MAP_FAILED;
  if (fstat(file, &status) == 0 && status.st_size == SLOTS * (off_t)sizeof(struct slot))
    table = mmap(NULL, SLOTS * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  return table == MAP_FAILED ? NULL : table;
}

static struct slot *table(void)
{
  static _Atomic(struct slot *) mapped;
  struct slot *slots = mapped;
  if (slots == NULL) {
    slots = map_table();
    struct slot *expected = NULL;
    if (slots != NULL && !__atomic_compare_exchange_n((struct slot **)&mapped, &expected, slots, false, __ATOMIC_SEQ_CST,
                                                      __ATOMIC_SEQ_CST)) {
      munmap(slots, SLOTS * sizeof(struct slot));
      slots = expected;
    }
  }
  return slots;
}

static bool applies(const struct slot *slot, const char *vm, int64_t disk_key, uint64_t offset, uint64_t length)
{
  if (slot->vm[0] != '\0' && (vm == NULL || strncmp(slot->vm, vm, sizeof slot->vm) != 0))
    return false;
  if (slot->disk_key >= 0 && slot->disk_key != disk_key)
    return false;
  return slot->length == 0 || (offset < slot->offset + slot->length && slot->offset < offset + length);
}

/* Takes one from the counter unless it is used up. */
static bool take(_Atomic int64_t *counter)
{
  int64_t left = *counter;
  while (left > 0)
    if (__atomic_compare_exchange_n((int64_t *)counter, &left, left - 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      return true;
  return false;
}

static uint64_t now_ms(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Waits as ordered, or until the order is taken back. Returns whether it still stands. */
static bool wait_in(const struct slot *slot, enum fault_place place)
{
  const struct timespec nap = {.tv_nsec = 5 * 1000000};
  uint64_t end = now_ms() + slot->delay_ms;
  while (slot->place == (uint32_t)place && now_ms() < end)
    nanosleep(&nap, NULL);
  return slot->place == (uint32_t)place;
}

VixError strike(enum fault_place place, const char *vm, int64_t disk_key, uint64_t offset, uint64_t length)
{
  struct slot *slots = table();
  if (slots == NULL)
    return VIX_OK;
  for (int i = 0; i < SLOTS; i++) {
    struct slot *slot = &slots[i];
    if (slot->place != (uint32_t)place || !applies(slot, vm, disk_key, offset, length) || take(&slot->after))
      continue;
    if (slot->times >= 0 && !take(&slot->times))
      continue;
    slot->struck++;
    if (slot->crash)
      raise(SIGKILL); /* as gone as after a crash, without leaving a core file */
    if (wait_in(slot, place) && slot->error != VIX_OK)
      return slot->error;
  }
  return VIX_OK;
}
