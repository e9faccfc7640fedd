/*
 * The files through which the lab tells the library what there is, below the directory that LAB_VDDK_DIR names:
 *
 *   server                        lines "name value": host (several), port, user, password, sha1, sha256
 *   vms/MOREF/SNAPSHOT.disks      one block per disk, fields separated by tabs:
 *                                   disk KEY CAPACITY UUID [datastore] folder/disk.vmdk
 *                                   layer SIZE DATA_FILE MAP_FILE            (the newest first)
 *   vms/MOREF/SNAPSHOT.alive      one byte: 1 while the snapshot exists
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lab.h"

static FILE *open_published(const char *name, char *path, size_t path_size)
{
  const char *directory = getenv("LAB_VDDK_DIR");
  if (directory == NULL || *directory == '\0') {
    log_warning("VixDiskLib: this is the lab's stand-in library, and LAB_VDDK_DIR is not set");
    return NULL;
  }
  if ((size_t)snprintf(path, path_size, "%s/%s", directory, name) >= path_size)
    return NULL;
  return fopen(path, "re");
}

/* Calls `each` with every line, split at the first separator, until it returns false. */
static void each_line(FILE *file, char separator, bool (*each)(void *state, char *name, char *value), void *state)
{
  char *line = NULL;
  size_t room = 0;
  ssize_t length;
  while ((length = getline(&line, &room, file)) > 0) {
    if (line[length - 1] == '\n')
      line[length - 1] = '\0';
    char *value = strchr(line, separator);
    if (value == NULL)
      continue;
    *value++ = '\0';
    if (!each(state, line, value))
      break;
  }
  free(line);
}

struct login {
  const VixDiskLibConnectParams *params;
  bool host, port, user, password, thumbprint;
};

/* Compares fingerprints whatever their case and colons. */
static bool same_thumbprint(const char *a, const char *b)
{
  for (;; a++, b++) {
    while (*a == ':')
      a++;
    while (*b == ':')
      b++;
    if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
      return false;
    if (*a == '\0')
      return true;
  }
}

static bool compare_login(void *state, char *name, char *value)
{
  struct login *login = state;
  const VixDiskLibConnectParams *params = login->params;
  if (strcmp(name, "host") == 0)
    login->host |= strcasecmp(params->serverName, value) == 0;
  else if (strcmp(name, "port") == 0)
    login->port = params->port == 0 || params->port == strtoul(value, NULL, 10);
  else if (strcmp(name, "user") == 0)
    login->user = strcasecmp(params->creds.uid.userName, value) == 0;
  else if (strcmp(name, "password") == 0)
    login->password = strcmp(params->creds.uid.password, value) == 0;
  else if (strcmp(name, "sha1") == 0 || strcmp(name, "sha256") == 0)
    login->thumbprint |= same_thumbprint(params->thumbPrint, value);
  return true;
}

VixError check_login(const VixDiskLibConnectParams *params)
{
  char path[4096];
  struct login login = {.params = params};
  if (params->serverName == NULL || params->thumbPrint == NULL || params->credType != VIXDISKLIB_CRED_UID ||
      params->creds.uid.userName == NULL || params->creds.uid.password == NULL)
    return VIX_E_INVALID_ARG;
  FILE *file = open_published("server", path, sizeof path);
  if (file == NULL)
    return VIX_E_HOST_SERVER_NOT_FOUND;
  each_line(file, ' ', compare_login, &login);
  fclose(file);
  if (!login.host || !login.port) {
    log_warning("VixDiskLibVim: Failed to connect to server %s", params->serverName);
    return VIX_E_HOST_SERVER_NOT_FOUND;
  }
  if (!login.thumbprint) {
    log_warning("VixDiskLibVim: SSL certificate thumbprint of server %s does not match", params->serverName);
    return VIX_E_NET_HTTP_SSL_SECURITY;
  }
  if (!login.user || !login.password) {
    log_warning("VixDiskLibVim: Login failure: Cannot complete login due to an incorrect user name or password.");
    return VIX_E_HOST_USER_PERMISSIONS;
  }
  return VIX_OK;
}

/* Whether the text may be part of a path: morefs are letters, digits and dashes. */
bool is_moref(const char *text)
{
  if (text == NULL || *text == '\0')
    return false;
  for (; *text != '\0'; text++)
    if (!isalnum((unsigned char)*text) && *text != '-')
      return false;
  return true;
}

bool vm_exists(const char *vm)
{
  char path[4096];
  const char *directory = getenv("LAB_VDDK_DIR");
  snprintf(path, sizeof path, "%s/vms/%s", directory == NULL ? "" : directory, vm);
  return access(path, X_OK) == 0;
}

struct description {
  const char *wanted;
  struct disk *disk; /* set once the wanted disk was found */
  VixError error;
};

/* Cuts the next field off, which a tab ends; NULL when there is none. */
static char *next_field(char **rest)
{
  return *rest == NULL ? NULL : strsep(rest, "\t");
}

static bool open_layer(struct layer *layer, const char *size, const char *data_path, const char *map_path)
{
  struct stat status;
  layer->size = strtoull(size, NULL, 10);
  layer->data = open(data_path, O_RDONLY | O_CLOEXEC);
  layer->map_file = open(map_path, O_RDONLY | O_CLOEXEC);
  if (layer->data < 0 || layer->map_file < 0 || fstat(layer->map_file, &status) != 0)
    return false;
  layer->grains = (uint64_t)status.st_size;
  if (layer->grains == 0)
    return true;
  void *map = mmap(NULL, layer->grains, PROT_READ, MAP_SHARED, layer->map_file, 0);
  if (map == MAP_FAILED)
    return false;
  layer->map = map;
  return true;
}

static bool add_layer(struct disk *disk, char *rest)
{
  char *size = next_field(&rest), *data_path = next_field(&rest), *map_path = next_field(&rest);
  struct layer layer = {.data = -1, .map_file = -1};
  struct layer *layers = realloc(disk->layers, (size_t)(disk->layer_count + 1) * sizeof layer);
  if (layers == NULL)
    return false;
  disk->layers = layers;
  bool opened = map_path != NULL && open_layer(&layer, size, data_path, map_path);
  disk->layers[disk->layer_count++] = layer;
  return opened;
}

static bool read_description(void *state, char *kind, char *rest)
{
  struct description *description = state;
  struct disk *disk = description->disk;
  if (strcmp(kind, "layer") == 0) {
    if (disk != NULL && !add_layer(disk, rest))
      description->error = VIX_E_FILE_ERROR;
    return description->error == VIX_OK;
  }
  if (disk != NULL)
    return false;
  char *key = next_field(&rest), *capacity = next_field(&rest), *uuid = next_field(&rest);
  if (rest == NULL || strcmp(rest, description->wanted) != 0)
    return true;
  disk = calloc(1, sizeof *disk);
  if (disk == NULL) {
    description->error = VIX_E_OUT_OF_MEMORY;
    return false;
  }
  disk->key = strtoll(key, NULL, 10);
  disk->capacity = strtoull(capacity, NULL, 10);
  disk->uuid = strdup(uuid);
  description->disk = disk;
  return true;
}

static const volatile uint8_t *map_alive(const char *path)
{
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return NULL;
  void *alive = mmap(NULL, 1, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  return alive == MAP_FAILED ? NULL : alive;
}

VixError open_disk(const char *vm, const char *snapshot, const char *wanted, struct disk **disk)
{
  char name[512], path[4096];
  struct description description = {.wanted = wanted};
  snprintf(name, sizeof name, "vms/%s/%s.disks", vm, snapshot);
  FILE *file = open_published(name, path, sizeof path);
  if (file == NULL)
    return VIX_E_SNAPSHOT_NOTFOUND;
  each_line(file, '\t', read_description, &description);
  fclose(file);
  if (description.disk == NULL)
    return description.error == VIX_OK ? VIX_E_FILE_NOT_FOUND : description.error;
  strcpy(path + strlen(path) - strlen("disks"), "alive");
  description.disk->alive = map_alive(path);
  if (description.error == VIX_OK && description.disk->alive == NULL)
    description.error = VIX_E_SNAPSHOT_NOTFOUND;
  if (description.error != VIX_OK) {
    close_disk(description.disk);
    return description.error;
  }
  *disk = description.disk;
  return VIX_OK;
}

void close_disk(struct disk *disk)
{
  for (int i = 0; i < disk->layer_count; i++) {
    struct layer *layer = &disk->layers[i];
    if (layer->map != NULL)
      munmap((void *)layer->map, layer->grains);
    if (layer->data >= 0)
      close(layer->data);
    if (layer->map_file >= 0)
      close(layer->map_file);
  }
  if (disk->alive != NULL)
    munmap((void *)disk->alive, 1);
  free(disk->layers);
  free(disk->uuid);
  free(disk);
}
