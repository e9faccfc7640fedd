/* Log functions of the caller, and the texts of VMware's errors. */
#include <stdio.h>

#include "lab.h"

static VixDiskLibGenericLogFunc *info_function;
static VixDiskLibGenericLogFunc *warning_function;

void log_functions(VixDiskLibGenericLogFunc *info, VixDiskLibGenericLogFunc *warning)
{
  info_function = info;
  warning_function = warning;
}

void log_info(const char *format, ...)
{
  va_list arguments;
  if (info_function == NULL)
    return;
  va_start(arguments, format);
  info_function(format, arguments);
  va_end(arguments);
}

void log_warning(const char *format, ...)
{
  va_list arguments;
  if (warning_function == NULL)
    return;
  va_start(arguments, format);
  warning_function(format, arguments);
  va_end(arguments);
}

static const struct {
  VixError error;
  const char *text;
} TEXTS[] = {
    {VIX_OK, "The operation was successful"},
    {VIX_E_FAIL, "Unknown error"},
    {VIX_E_OUT_OF_MEMORY, "Memory allocation failed. Out of memory"},
    {VIX_E_INVALID_ARG, "One of the parameters was invalid"},
    {VIX_E_FILE_NOT_FOUND, "A file was not found"},
    {VIX_E_NOT_SUPPORTED, "The operation is not supported"},
    {VIX_E_FILE_ERROR, "A file access error occurred on the host or guest operating system"},
    {VIX_E_FILE_READ_ONLY, "The file is write-protected"},
    {VIX_E_FILE_ACCESS_ERROR, "You do not have access rights to this file"},
    {VIX_E_HOST_USER_PERMISSIONS, "Insufficient permissions in the host operating system"},
    {VIX_E_VM_NOT_FOUND, "The virtual machine cannot be found"},
    {VIX_E_SNAPSHOT_NOTFOUND, "The snapshot cannot be found"},
    {VIX_E_HOST_SERVER_NOT_FOUND, "The specified server could not be contacted"},
    {VIX_E_HOST_NETWORK_CONN_REFUSED, "The server refused connection"},
    {VIX_E_HOST_TCP_CONN_LOST, "The connection was lost"},
    {VIX_E_DISK_OUTOFRANGE, "You have requested access to an area of the virtual disk that is out of bounds"},
    {VIX_E_CANNOT_CONNECT_TO_HOST, "Cannot connect to the host"},
    {VIX_E_NET_HTTP_SSL_SECURITY, "SSL certificate verification failed"},
};

const char *error_text(VixError error)
{
  static _Thread_local char unknown[64];
  for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++)
    if (TEXTS[i].error == error)
      return TEXTS[i].text;
  snprintf(unknown, sizeof unknown, "Unknown error %llu", (unsigned long long)error);
  return unknown;
}
