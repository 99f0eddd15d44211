/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "io_util.h"

#include "checked.h"
#include "ctx.h"
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the UTF-8 sequence at s, 0 when it is malformed (overlong, surrogate, too large). */
static size_t sequence_length(const unsigned char *s, size_t left)
{
  if (s[0] < 0x80)
    return 1;
  if (s[0] < 0xc2 || s[0] > 0xf4)
    return 0;
  const size_t length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
  if (left < length)
    return 0;
  for (size_t i = 1; i < length; i++)
    if ((s[i] & 0xc0) != 0x80)
      return 0;
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
      (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
    return 0;
  return length;
}

bool qli_utf8_valid(const char *text, size_t size)
{
  for (size_t i = 0; i < size;) {
    const size_t length = sequence_length((const unsigned char *)text + i, size - i);
    if (length == 0)
      return false;
    i += length;
  }
  return true;
}

bool qli_name_valid(const char *name)
{
  const size_t size = strlen(name);
  if (size == 0 || size > QLI_IO_MAX_NAME || !qli_utf8_valid(name, size))
    return false;
  for (size_t i = 0; i < size; i++)
    if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
      return false;
  return true;
}

bool qli_plain_file_name(const char *name)
{
  return qli_name_valid(name) && strlen(name) <= 255 && strchr(name, '/') == NULL &&
         strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* At most limit bytes of text, cut between characters. */
static void shorten(char *out, size_t limit, const char *text)
{
  const size_t size = strlen(text);
  if (size < limit) {
    memcpy(out, text, size + 1);
    return;
  }
  size_t keep = limit - 4;
  while (keep > 0 && ((unsigned char)text[keep] & 0xc0) == 0x80)
    keep--;
  memcpy(out, text, keep);
  memcpy(out + keep, "...", 4);
}

ql_status qli_io_fail(ql_error *error, ql_status status, const char *path, const char *tensor,
                      const char *format, ...)
{
  char reason[200], short_path[120], short_name[72];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(reason, sizeof reason, format, arguments);
  va_end(arguments);
  shorten(short_path, sizeof short_path, path);
  if (tensor != NULL) {
    shorten(short_name, sizeof short_name, tensor);
    qli_fail(error, status, "%s: tensor \"%s\": %s", short_path, short_name, reason);
  } else {
    qli_fail(error, status, "%s: %s", short_path, reason);
  }
  qli_error_tensor(error, tensor);
  qli_error_file(error, path);
  return status;
}

ql_status qli_io_restate(ql_error *error, ql_status status, int cause)
{
  if (error != NULL && error->struct_size >= sizeof *error) {
    error->status = status;
    error->cause = cause;
  }
  return status;
}

ql_status qli_io_errno(ql_error *error, int code, const char *path, const char *what)
{
  qli_fail_errno(error, code, path, what);
  return qli_io_restate(error, code == ENOENT ? QL_STATUS_NOT_FOUND : QL_STATUS_IO, code);
}

char *qli_path_join(const ql_ctx *ctx, const char *a, const char *b)
{
  const size_t na = strlen(a), nb = strlen(b);
  const bool slash = na > 0 && a[na - 1] != '/';
  char *path = qli_alloc(ctx, na + nb + 2, 1);
  if (path == NULL)
    return NULL;
  memcpy(path, a, na);
  if (slash)
    path[na] = '/';
  memcpy(path + na + slash, b, nb + 1);
  return path;
}

char *qli_string_copy(const ql_ctx *ctx, const char *text)
{
  const size_t size = strlen(text) + 1;
  char *copy = qli_alloc(ctx, size, 1);
  if (copy != NULL)
    memcpy(copy, text, size);
  return copy;
}

bool qli_grow(const ql_ctx *ctx, void **array, size_t *capacity, size_t count, size_t size)
{
  if (count < *capacity)
    return true;
  size_t wanted;
  if (!qli_mul_size(*capacity ? *capacity : 8, 2, &wanted))
    return false;
  void *larger = qli_alloc(ctx, wanted, size);
  if (larger == NULL)
    return false;
  if (count > 0)
    memcpy(larger, *array, count * size);
  qli_free(ctx, *array);
  *array = larger;
  *capacity = wanted;
  return true;
}
