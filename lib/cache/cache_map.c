/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include "../io/io_util.h"
#include "checked.h"
#include "error.h"
#include "parts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

void qli_cache_bind(const ql_packed_file *f, size_t i, ql_packed *p)
{
  const qli_cache_record *r = &f->records[i];
  const qli_packed_shape shape = qli_cache_shape(r);
  qli_packed_sections at;
  memset(p, 0, sizeof *p);
  (void)qli_packed_lay_out(&shape, &f->ctx->kernels.gemm.unit[r->wtype], &at, p);
  qli_packed_bind(f->ctx, &shape, &at, f->map + r->data_at, p);
  p->bits = r->bits;
  p->dtype = r->dtype;
  p->group = (size_t)r->group;
  p->permuted = (r->flags & QLI_CACHE_PERMUTED) != 0;
  p->bytes = sizeof *p + p->data_bytes;
}

static ql_packed *view_of(const ql_packed_file *f, size_t i)
{
  ql_packed *p = qli_alloc(f->ctx, 1, sizeof *p);
  if (p != NULL)
    qli_cache_bind(f, i, p);
  return p;
}

/* A copy of a small array, true where there is nothing to copy. */
static bool copy(const ql_ctx *ctx, const unsigned char *from, size_t count, void **out)
{
  if (count == 0)
    return true;
  *out = qli_alloc(ctx, count, sizeof(float));
  if (*out != NULL)
    memcpy(*out, from, count * sizeof(float));
  return *out != NULL;
}

static bool take_parts(const ql_packed_file *f, const qli_cache_record *r, qli_packed_parts *parts)
{
  const unsigned char *more = f->map + r->data_at + r->data_bytes;
  const size_t scaled = (r->flags & QLI_CACHE_IN_SCALE) != 0 ? (size_t)r->packed_k : 0;
  void *in_scale = NULL, *cols = NULL, *at = NULL, *scale = NULL;
  qli_cache_extra extra;
  (void)qli_cache_extra_of(r, &extra);
  parts->side_count = (size_t)r->side_count;
  const bool copied = copy(f->ctx, more + extra.in_scale, scaled, &in_scale) &&
                      copy(f->ctx, more + extra.side_cols, parts->side_count, &cols) &&
                      copy(f->ctx, more + extra.side_at, parts->side_count, &at) &&
                      copy(f->ctx, more + extra.side_scale, parts->side_count, &scale);
  parts->in_scale = in_scale;
  parts->side_cols = cols;
  parts->side_at = at;
  parts->side_scale = scale;
  ql_packed **const members[QLI_CACHE_CHILDREN] = {&parts->side, &parts->lora_a, &parts->lora_b};
  for (size_t c = 0; copied && c < QLI_CACHE_CHILDREN; c++)
    if (r->child[c] != 0 && (*members[c] = view_of(f, r->child[c])) == NULL)
      return false;
  return copied;
}

static ql_packed *load(const ql_packed_file *f, size_t i)
{
  const qli_cache_record *r = &f->records[i];
  ql_packed *p = view_of(f, i);
  if (p == NULL || ((r->flags & QLI_CACHE_IN_SCALE) == 0 && r->side_count == 0 && r->child[1] == 0))
    return p;
  p->parts = qli_calloc(f->ctx, 1, sizeof *p->parts);
  if (p->parts != NULL && take_parts(f, r, p->parts))
    return p;
  ql_packed_destroy(p);
  return NULL;
}

ql_status ql_packed_map(const ql_packed_file *file, const char *name, ql_packed **out,
                        ql_error *error)
{
  if (file == NULL || name == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "file, name or out is NULL");
  for (size_t i = 0; i < file->header->records; i++) {
    const uint64_t at = file->records[i].name_at;
    if (at == UINT64_MAX || strcmp(file->names + at, name) != 0)
      continue;
    ql_packed *p = load(file, i);
    if (p == NULL)
      return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to map %s", name);
    *out = p;
    return QL_STATUS_OK;
  }
  return qli_io_fail(error, QL_STATUS_NOT_FOUND, file->path, name, "not among the packed weights");
}

static uint64_t data_sum(const ql_packed_file *f)
{
  uint64_t sum = 0;
  for (size_t i = 0; i < f->header->records; i++) {
    const qli_cache_record *r = &f->records[i];
    if (r->data_bytes > 0)
      sum = qli_cache_sum(sum, f->map + r->data_at, (size_t)r->data_bytes);
    if (r->extra_bytes > 0)
      sum = qli_cache_sum(sum, f->map + r->data_at + r->data_bytes, (size_t)r->extra_bytes);
  }
  return sum;
}

ql_status ql_packed_verify(const ql_packed_file *file, ql_error *error)
{
  if (file == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "file is NULL");
  if (data_sum(file) == file->header->data_sum)
    return QL_STATUS_OK;
  return qli_io_fail(error, QL_STATUS_FORMAT, file->path, NULL, "the packed weights are damaged");
}

size_t ql_packed_count(const ql_packed_file *file)
{
  size_t count = 0;
  for (size_t i = 0; file != NULL && i < file->header->records; i++)
    count += file->records[i].name_at != UINT64_MAX;
  return count;
}

const char *ql_packed_name(const ql_packed_file *file, size_t i)
{
  for (size_t k = 0; file != NULL && k < file->header->records; k++)
    if (file->records[k].name_at != UINT64_MAX && i-- == 0)
      return file->names + file->records[k].name_at;
  return NULL;
}

ql_status qli_cache_open_memory(const ql_ctx *ctx, const char *path, const void *bytes, size_t size,
                                const uint8_t *key, ql_packed_file **out, ql_error *error)
{
  ql_packed_file *f = qli_calloc(ctx, 1, sizeof *f);
  ql_status status = QL_STATUS_OK;
  if (f == NULL || (f->path = qli_string_copy(ctx, path)) == NULL) {
    qli_free(ctx, f);
    return qli_io_fail(error, QL_STATUS_NO_MEMORY, path, NULL, "no memory to open it");
  }
  f->ctx = ctx;
  f->map = bytes;
  f->bytes = size;
  f->header = bytes;
  if (size < sizeof(qli_cache_header))
    status = qli_io_fail(error, QL_STATUS_FORMAT, path, NULL, "not a file of packed weights");
  else
    status = qli_cache_check(f, key, error);
  if (status != QL_STATUS_OK)
    ql_packed_close(f);
  else
    *out = f;
  return status;
}

/* An empty file cannot be mapped and is no such file. */
static ql_status map_file(const qli_os *os, const char *path, const void **map, size_t *size,
                          ql_error *error)
{
  struct stat st;
  const int fd = os->open_at(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0)
    return qli_io_errno(error, errno, path, "cannot be opened");
  ql_status status = QL_STATUS_OK;
  if (os->fstat(fd, &st) != 0)
    status = qli_io_errno(error, errno, path, "cannot be looked at");
  else if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(qli_cache_header) ||
           (uint64_t)st.st_size > PTRDIFF_MAX)
    status = qli_io_fail(error, QL_STATUS_FORMAT, path, NULL, "not a file of packed weights");
  else if ((*map = os->map(fd, (size_t)st.st_size)) == NULL)
    status = qli_io_errno(error, errno, path, "cannot be mapped");
  else
    *size = (size_t)st.st_size;
  (void)os->close(fd);
  return status;
}

ql_status ql_packed_open(const ql_ctx *ctx, const char *path, const uint8_t *key,
                         ql_packed_file **out, ql_error *error)
{
  const void *map = NULL;
  size_t size = 0;
  if (ctx == NULL || path == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, path or out is NULL");
  QLI_TRY(map_file(&qli_os_system, path, &map, &size, error));
  ql_packed_file *f = NULL;
  const ql_status status = qli_cache_open_memory(ctx, path, map, size, key, &f, error);
  if (status != QL_STATUS_OK) {
    (void)munmap((void *)(uintptr_t)map, size);
    return status;
  }
  f->owned = true;
  *out = f;
  return QL_STATUS_OK;
}

void ql_packed_close(ql_packed_file *file)
{
  if (file == NULL)
    return;
  if (file->owned)
    (void)munmap((void *)(uintptr_t)file->map, file->bytes);
  qli_free(file->ctx, file->path);
  qli_free(file->ctx, file);
}
