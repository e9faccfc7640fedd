/* Which blocks of a disk are allocated. */
#include <stdlib.h>

#include "lab.h"

/* Appends a block, joined to the last one when they touch. */
static VixDiskLibBlockList *append_block(VixDiskLibBlockList *list, uint32_t *room, uint64_t offset, uint64_t end)
{
  if (list->numBlocks > 0) {
    VixDiskLibBlock *previous = &list->blocks[list->numBlocks - 1];
    if (offset <= previous->offset + previous->length) {
      if (end > previous->offset + previous->length)
        previous->length = end - previous->offset;
      return list;
    }
  }
  if (list->numBlocks == *room) {
    VixDiskLibBlockList *larger = realloc(list, sizeof *list + 2 * (size_t)*room * sizeof(VixDiskLibBlock));
    if (larger == NULL) {
      free(list);
      return NULL;
    }
    list = larger;
    *room *= 2;
  }
  list->blocks[list->numBlocks++] = (VixDiskLibBlock){.offset = offset, .length = end - offset};
  return list;
}

/* The plugin asks past the capacity: whole chunks only. What is answered ends at the capacity. */
EXPORTED VixError VixDiskLib_QueryAllocatedBlocks(struct handle *handle, uint64_t start_sector, uint64_t sectors,
                                                  uint64_t chunk_sectors, VixDiskLibBlockList **blocks)
{
  const struct disk *disk = handle->disk;
  const uint64_t capacity = disk->capacity / SECTOR_BYTES;
  uint64_t end_sector = start_sector + sectors;
  uint32_t room = 64;
  VixError error = strike(FAULT_ALLOCATED, handle->connection->vm, disk->key, 0, 0);
  if (error != VIX_OK)
    return error;
  if (chunk_sectors < GRAIN_SECTORS || chunk_sectors % GRAIN_SECTORS != 0 || end_sector < start_sector)
    return VIX_E_INVALID_ARG;
  if (end_sector > capacity)
    end_sector = capacity;
  VixDiskLibBlockList *list = calloc(1, sizeof *list + room * sizeof(VixDiskLibBlock));
  const uint64_t end_grain = (end_sector + GRAIN_SECTORS - 1) / GRAIN_SECTORS;
  uint64_t grain = next_allocated(disk, start_sector / GRAIN_SECTORS, end_grain);
  while (list != NULL && grain < end_grain) {
    uint64_t after = grain + 1;
    while (after < end_grain && is_allocated(disk, after))
      after++;
    uint64_t from = grain * GRAIN_SECTORS, to = after * GRAIN_SECTORS;
    from -= from % chunk_sectors;
    to += (chunk_sectors - to % chunk_sectors) % chunk_sectors;
    list = append_block(list, &room, from < start_sector ? start_sector : from, to > end_sector ? end_sector : to);
    grain = next_allocated(disk, after, end_grain);
  }
  *blocks = list;
  return list == NULL ? VIX_E_OUT_OF_MEMORY : VIX_OK;
}

EXPORTED VixError VixDiskLib_FreeBlockList(VixDiskLibBlockList *blocks)
{
  free(blocks);
  return VIX_OK;
}
