/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int usable(const ql_error *error)
{
  return error != NULL && error->struct_size >= sizeof(ql_error);
}

ql_status qle_fail(ql_error *error, ql_status status, const char *format, ...)
{
  if (!usable(error))
    return status;
  /* The text is made first: its arguments may be strings of *error. */
  char text[sizeof error->text];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  memcpy(error->text, text, sizeof text);
  error->status = status;
  error->cause = 0;
  error->row = error->col = -1;
  error->hint[0] = error->tensor[0] = error->file[0] = '\0';
  return status;
}

void qle_error_file(ql_error *error, const char *path)
{
  if (usable(error) && path != NULL)
    snprintf(error->file, sizeof error->file, "%s", path);
}

void qle_error_tensor(ql_error *error, const char *name)
{
  if (usable(error) && name != NULL)
    snprintf(error->tensor, sizeof error->tensor, "%s", name);
}

void qle_error_hint(ql_error *error, const char *format, ...)
{
  if (!usable(error))
    return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->hint, sizeof error->hint, format, arguments);
  va_end(arguments);
}

char *qle_path_join(const char *dir, const char *name)
{
  if (dir == NULL)
    return strdup(name);
  const size_t size = strlen(dir) + strlen(name) + 2;
  char *path = malloc(size);
  if (path != NULL)
    snprintf(path, size, "%s/%s", dir, name);
  return path;
}

void *qle_alloc3(size_t a, size_t b, size_t size)
{
  size_t total;
  if (!qle_mul(a, b, &total) || !qle_mul(total, size, &total))
    return NULL;
  void *block = malloc(total == 0 ? 1 : total);
  qle_pages_huge(block, total);
  return block;
}

void qle_pages_huge(void *block, size_t bytes)
{
#if defined(MADV_HUGEPAGE)
  enum { HUGE_PAGE = 2 << 20, LEAST = 4 << 20 };
  const uintptr_t begin = ((uintptr_t)block + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
  const uintptr_t end = ((uintptr_t)block + bytes) & ~(uintptr_t)(HUGE_PAGE - 1);
  if (block != NULL && bytes >= LEAST)
    (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#else
  (void)block;
  (void)bytes;
#endif
}

static ql_status fail_errno(ql_error *error, int code, const char *path, const char *what)
{
  char text[128] = "";
  const char *reason = strerror_r(code, text, sizeof text);
  const ql_status status = code == ENOENT || code == ENOTDIR ? QL_STATUS_NOT_FOUND : QL_STATUS_IO;
  qle_fail(error, status, "%s: %s: %s", path, what, reason);
  qle_error_file(error, path);
  if (usable(error))
    error->cause = code;
  return status;
}

/* Size of an open regular file of at most limit bytes. */
static ql_status file_size(int fd, const char *path, size_t limit, size_t *size, ql_error *error)
{
  struct stat st;
  if (fstat(fd, &st) != 0)
    return fail_errno(error, errno, path, "cannot stat");
  if (!S_ISREG(st.st_mode)) {
    qle_fail(error, QL_STATUS_IO, "%s is not a regular file", path);
    qle_error_file(error, path);
    return QL_STATUS_IO;
  }
  if (st.st_size < 0 || (uintmax_t)st.st_size > limit) {
    qle_fail(error, QL_STATUS_FORMAT, "%s has %jd bytes; at most %zu are accepted here", path,
             (intmax_t)st.st_size, limit);
    qle_error_file(error, path);
    return QL_STATUS_FORMAT;
  }
  *size = (size_t)st.st_size;
  return QL_STATUS_OK;
}

/* Reads up to size bytes; *got is less when the file shrank meanwhile. */
static int read_all(int fd, char *bytes, size_t size, size_t *got)
{
  *got = 0;
  while (*got < size) {
    const ssize_t n = read(fd, bytes + *got, size - *got);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return errno;
    if (n == 0)
      break;
    *got += (size_t)n;
  }
  return 0;
}

static ql_status read_open(int fd, const char *path, size_t limit, char **bytes, size_t *size,
                           ql_error *error)
{
  size_t length = 0;
  QLE_TRY(file_size(fd, path, limit, &length, error));
  char *buffer = malloc(length + 1);
  if (buffer == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "%s: no memory for %zu bytes", path, length);
  size_t got;
  const int code = read_all(fd, buffer, length, &got);
  if (code != 0) {
    free(buffer);
    return fail_errno(error, code, path, "cannot read");
  }
  buffer[got] = '\0';
  *bytes = buffer;
  *size = got;
  return QL_STATUS_OK;
}

ql_status qle_file_read(const char *path, size_t limit, char **bytes, size_t *size, ql_error *error)
{
  /* A FIFO in the place of the file must not block the open. */
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return fail_errno(error, errno, path, "cannot open");
  const ql_status status = read_open(fd, path, limit, bytes, size, error);
  close(fd);
  return status;
}

/* Deepest nesting of brackets outside of strings: recursion in the parser is bounded by it. */
static size_t json_depth(const char *text, size_t size)
{
  size_t depth = 0, deepest = 0;
  int in_string = 0;
  for (size_t i = 0; i < size; i++) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        i++;
      else if (c == '"')
        in_string = 0;
    } else if (c == '"') {
      in_string = 1;
    } else if (c == '{' || c == '[') {
      depth++;
      deepest = depth > deepest ? depth : deepest;
    } else if ((c == '}' || c == ']') && depth > 0) {
      depth--;
    }
  }
  return deepest;
}

ql_status qle_json_read(const char *path, size_t limit, size_t depth, json_t **out, ql_error *error)
{
  char *text = NULL;
  size_t size = 0;
  QLE_TRY(qle_file_read(path, limit, &text, &size, error));
  ql_status status = QL_STATUS_OK;
  json_error_t reason;
  json_t *value = NULL;
  if (json_depth(text, size) > depth) {
    status =
        qle_fail(error, QL_STATUS_FORMAT, "%s: JSON nested deeper than %zu levels", path, depth);
  } else {
    value = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &reason);
    if (value == NULL)
      status = qle_fail(error, QL_STATUS_FORMAT, "%s: line %d, column %d: %s", path, reason.line,
                        reason.column, reason.text);
  }
  free(text);
  if (status != QL_STATUS_OK) {
    qle_error_file(error, path);
    return status;
  }
  *out = value;
  return QL_STATUS_OK;
}

json_t *qle_json_text(const char *text)
{
  json_t *string = text == NULL ? NULL : json_string(text);
  char *ascii = text == NULL || string != NULL ? NULL : strdup(text);
  if (ascii == NULL)
    return string;
  for (char *c = ascii; *c != '\0'; c++)
    if ((unsigned char)*c >= 0x80)
      *c = '?';
  string = json_string(ascii);
  free(ascii);
  return string;
}
