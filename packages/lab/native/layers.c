/* Reading a chain of redo-log layers: of each grain the newest layer that holds it counts. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "lab.h"

/* What a byte of a layer's map says of its grain. */
enum { GRAIN_ABSENT = 0, GRAIN_ZERO = 1 };

static const struct layer *holder(const struct disk *disk, uint64_t grain)
{
  for (int i = 0; i < disk->layer_count; i++) {
    const struct layer *layer = &disk->layers[i];
    if (grain < layer->grains && layer->map[grain] != GRAIN_ABSENT)
      return layer;
  }
  return NULL;
}

static bool has_data(const struct layer *layer, uint64_t grain)
{
  return layer != NULL && layer->map[grain] != GRAIN_ZERO;
}

static VixError read_layer(const struct layer *layer, uint64_t offset, uint64_t length, uint8_t *into)
{
  while (length > 0) {
    ssize_t count = pread(layer->data, into, length, (off_t)offset);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return VIX_E_FILE_ERROR;
    if (count == 0) {
      /* The disk has grown since this layer was frozen. */
      memset(into, 0, length);
      return VIX_OK;
    }
    offset += (uint64_t)count;
    into += count;
    length -= (uint64_t)count;
  }
  return VIX_OK;
}

VixError read_disk(const struct disk *disk, uint64_t offset, uint64_t length, uint8_t *into)
{
  const uint64_t end = offset + length;
  while (offset < end) {
    uint64_t grain = offset / GRAIN_BYTES;
    const struct layer *layer = holder(disk, grain);
    const bool data = has_data(layer, grain);
    uint64_t until = (grain + 1) * GRAIN_BYTES;
    /* One read for all grains in a row that come from the same layer. */
    while (until < end) {
      const struct layer *following = holder(disk, ++grain);
      if (has_data(following, grain) != data || (data && following != layer))
        break;
      until += GRAIN_BYTES;
    }
    if (until > end)
      until = end;
    if (!data) {
      memset(into, 0, until - offset);
    } else {
      VixError error = read_layer(layer, offset, until - offset, into);
      if (error != VIX_OK)
        return error;
    }
    into += until - offset;
    offset = until;
  }
  return VIX_OK;
}

bool is_allocated(const struct disk *disk, uint64_t grain)
{
  return holder(disk, grain) != NULL;
}

/* The first grain from `grain` on that this layer holds. Holes of the map file are skipped by the kernel. */
static uint64_t next_in_layer(const struct layer *layer, uint64_t grain, uint64_t end)
{
  if (end > layer->grains)
    end = layer->grains;
  while (grain < end) {
    off_t data = lseek(layer->map_file, (off_t)grain, SEEK_DATA);
    if (data < 0)
      return UINT64_MAX; /* ENXIO: nothing but a hole up to the end */
    grain = (uint64_t)data;
    /* Up to the next page at most: then ask the kernel again. */
    uint64_t page_end = (grain | 4095) + 1;
    for (; grain < end && grain < page_end; grain++)
      if (layer->map[grain] != GRAIN_ABSENT)
        return grain;
  }
  return UINT64_MAX;
}

uint64_t next_allocated(const struct disk *disk, uint64_t grain, uint64_t end)
{
  uint64_t first = end;
  for (int i = 0; i < disk->layer_count; i++) {
    uint64_t found = next_in_layer(&disk->layers[i], grain, first);
    if (found < first)
      first = found;
  }
  return first;
}
