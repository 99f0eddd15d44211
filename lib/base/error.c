/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* True when the caller's ql_error is the one of version 0.1 or longer. */
static int usable(const ql_error *error)
{
  return error != NULL && error->struct_size >= sizeof(ql_error);
}

ql_status qli_fail(ql_error *error, ql_status status, const char *format, ...)
{
  if (!usable(error))
    return status;
  error->status = status;
  error->cause = 0;
  error->row = error->col = -1;
  error->hint[0] = error->tensor[0] = error->file[0] = '\0';
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->text, sizeof error->text, format, arguments);
  va_end(arguments);
  return status;
}

ql_status qli_fail_errno(ql_error *error, int code, const char *path, const char *what)
{
  char text[128] = "";
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
  snprintf(text, sizeof text, "%s", strerror_r(code, text, sizeof text));
#else
  if (strerror_r(code, text, sizeof text) != 0)
    snprintf(text, sizeof text, "errno %d", code);
#endif
  qli_fail(error, QL_STATUS_IO, "%s: %s: %s", path, what, text);
  qli_error_file(error, path);
  if (usable(error))
    error->cause = code;
  return QL_STATUS_IO;
}

void qli_error_tensor(ql_error *error, const char *name)
{
  if (usable(error) && name != NULL)
    snprintf(error->tensor, sizeof error->tensor, "%s", name);
}

void qli_error_file(ql_error *error, const char *path)
{
  if (usable(error) && path != NULL)
    snprintf(error->file, sizeof error->file, "%s", path);
}

void qli_error_at(ql_error *error, int64_t row, int64_t col)
{
  if (!usable(error))
    return;
  error->row = row;
  error->col = col;
}

void qli_error_hint(ql_error *error, const char *format, ...)
{
  if (!usable(error))
    return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->hint, sizeof error->hint, format, arguments);
  va_end(arguments);
}

int qli_config_copy(void *dst, size_t dst_size, size_t first_size, const void *src)
{
  size_t size;
  memcpy(&size, src, sizeof size);
  if (size < first_size)
    return 0;
  const unsigned char *bytes = src;
  for (size_t i = dst_size; i < size; i++)
    if (bytes[i] != 0)
      return 0;
  memcpy(dst, src, size < dst_size ? size : dst_size);
  memcpy(dst, &dst_size, sizeof dst_size);
  return 1;
}
