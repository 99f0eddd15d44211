/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "file.h"

#include "checked.h"
#include "ctx.h"
#include "error.h"
#include "io_util.h"
#include "st_header.h"
#include "st_index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
  char *path;
  char *text; /* the header, which names and metadata point into */
  unsigned char *map;
  size_t size;
  size_t data; /* where the tensors begin */
  qli_st_header header;
} shard;

struct ql_file {
  const ql_ctx *ctx;
  const qli_os *os;
  char *path;
  shard *shards;
  size_t shard_count;
  qli_st_tensor *tensors; /* of all shards, sorted by name */
  size_t count;
};

/* O_NONBLOCK: opening a FIFO must not wait for a writer. It means nothing for regular files. */
enum { READ_FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

static ql_status check_regular(const ql_file *f, int fd, const char *path, size_t *size,
                               ql_error *error)
{
  struct stat st;
  if (f->os->fstat(fd, &st) != 0)
    return qli_io_errno(error, errno, path, "cannot be examined");
  if (!S_ISREG(st.st_mode))
    return qli_io_fail(error, QL_STATUS_FORMAT, path, NULL, "is not a regular file");
  if ((uint64_t)st.st_size > PTRDIFF_MAX)
    return qli_io_fail(error, QL_STATUS_OVERFLOW, path, NULL, "is too large for this machine");
  *size = (size_t)st.st_size;
  return QL_STATUS_OK;
}

/* size bytes from offset and a NUL, in memory of the context. */
static ql_status read_text(const ql_file *f, int fd, const char *path, uint64_t offset, size_t size,
                           char **out, ql_error *error)
{
  char *text = qli_alloc(f->ctx, size + 1, 1);
  if (text == NULL)
    return qli_io_fail(error, QL_STATUS_NO_MEMORY, path, NULL,
                       "no memory for its %zu bytes of text", size);
  if (!qli_os_read(f->os, fd, text, size, offset)) {
    const int code = errno;
    qli_free(f->ctx, text);
    if (code == 0)
      return qli_io_fail(error, QL_STATUS_FORMAT, path, NULL, "shrank while it was read");
    return qli_io_errno(error, code, path, "cannot be read");
  }
  text[size] = '\0';
  *out = text;
  return QL_STATUS_OK;
}

/* The length of the header, checked against the file. */
static ql_status read_length(const ql_file *f, int fd, const shard *s, size_t *length,
                             ql_error *error)
{
  unsigned char bytes[8];
  uint64_t n = 0;
  if (s->size < 8)
    return qli_io_fail(error, QL_STATUS_FORMAT, s->path, NULL,
                       "holds %zu bytes, a safetensors file has at least 8", s->size);
  if (!qli_os_read(f->os, fd, bytes, sizeof bytes, 0)) {
    if (errno == 0)
      return qli_io_fail(error, QL_STATUS_FORMAT, s->path, NULL, "shrank while it was read");
    return qli_io_errno(error, errno, s->path, "cannot be read");
  }
  for (int i = 7; i >= 0; i--)
    n = n << 8 | bytes[i];
  if (n > QLI_IO_MAX_HEADER)
    return qli_io_fail(error, QL_STATUS_FORMAT, s->path, NULL,
                       "says that its header has %llu bytes, the format allows %d (is this a "
                       "safetensors file?)",
                       (unsigned long long)n, QLI_IO_MAX_HEADER);
  if (n > s->size - 8)
    return qli_io_fail(error, QL_STATUS_FORMAT, s->path, NULL,
                       "the file is cut short: its header has %llu bytes, %zu are there",
                       (unsigned long long)n, s->size - 8);
  *length = (size_t)n;
  return QL_STATUS_OK;
}

/* Reads, checks and maps one safetensors file. *s has its path; what is filled is freed by
 * ql_file_close, also after a failure. The header is parsed from a copy, which nobody can change
 * between the check and the use. */
static ql_status load_shard(const ql_file *f, int fd, shard *s, ql_error *error)
{
  size_t length = 0;
  QLI_TRY(check_regular(f, fd, s->path, &s->size, error));
  QLI_TRY(read_length(f, fd, s, &length, error));
  QLI_TRY(read_text(f, fd, s->path, 8, length, &s->text, error));
  s->data = 8 + length;
  QLI_TRY(qli_st_parse(f->ctx, s->path, s->text, length, s->size - s->data, &s->header, error));
  s->map = f->os->map(fd, s->size);
  if (s->map == NULL)
    return qli_io_errno(error, errno, s->path, "cannot be mapped");
  return QL_STATUS_OK;
}

static ql_status allocate_shards(ql_file *f, size_t count, ql_error *error)
{
  f->shards = qli_calloc(f->ctx, count, sizeof f->shards[0]);
  if (f->shards == NULL)
    return qli_io_fail(error, QL_STATUS_NO_MEMORY, f->path, NULL, "no memory for %zu shards",
                       count);
  f->shard_count = count;
  return QL_STATUS_OK;
}

/* Opens dir/name. *found false instead of an error when there is no such file. */
static ql_status open_in(const ql_file *f, int dir, const char *name, int *fd, bool *found,
                         ql_error *error)
{
  *fd = f->os->open_at(dir, name, READ_FLAGS, 0);
  *found = *fd >= 0;
  if (*fd >= 0 || errno == ENOENT)
    return QL_STATUS_OK;
  const int code = errno;
  char *path = qli_path_join(f->ctx, f->path, name);
  const ql_status status = qli_io_errno(error, code, path ? path : name, "cannot be opened");
  qli_free(f->ctx, path);
  return status;
}

static ql_status set_shard_path(ql_file *f, size_t i, const char *name, ql_error *error)
{
  f->shards[i].path =
      name ? qli_path_join(f->ctx, f->path, name) : qli_string_copy(f->ctx, f->path);
  if (f->shards[i].path == NULL)
    return qli_io_fail(error, QL_STATUS_NO_MEMORY, f->path, NULL, "no memory for a path");
  return QL_STATUS_OK;
}

/* One file, already open; name is NULL when f->path is the file itself. */
static ql_status open_single(ql_file *f, int fd, const char *name, ql_error *error)
{
  QLI_TRY(allocate_shards(f, 1, error));
  QLI_TRY(set_shard_path(f, 0, name, error));
  return load_shard(f, fd, &f->shards[0], error);
}

static ql_status open_shard(ql_file *f, int dir, size_t i, const char *name, ql_error *error)
{
  int fd;
  bool found;
  QLI_TRY(set_shard_path(f, i, name, error));
  QLI_TRY(open_in(f, dir, name, &fd, &found, error));
  if (!found)
    return qli_io_fail(error, QL_STATUS_NOT_FOUND, f->shards[i].path, NULL,
                       "this shard, named by %.60s, is missing", QLI_IO_INDEX_NAME);
  const ql_status status = load_shard(f, fd, &f->shards[i], error);
  f->os->close(fd);
  return status;
}

/* Every tensor of the shards is in the index, with that shard, and the other way round. Both lists
 * are sorted by name. */
static ql_status match_index(const ql_file *f, const qli_st_index *index, const char *index_path,
                             ql_error *error)
{
  size_t i = 0, k = 0;
  while (i < f->count || k < index->count) {
    const int order = i == f->count       ? 1
                      : k == index->count ? -1
                                          : strcmp(f->tensors[i].name, index->entries[k].tensor);
    if (order < 0)
      return qli_io_fail(error, QL_STATUS_FORMAT, f->shards[f->tensors[i].shard].path,
                         f->tensors[i].name, "is not in %s", QLI_IO_INDEX_NAME);
    if (order > 0 || f->tensors[i].shard != index->entries[k].shard)
      return qli_io_fail(error, QL_STATUS_FORMAT, index_path, index->entries[k].tensor,
                         "is not in \"%.80s\", where the index puts it", index->entries[k].file);
    i++;
    k++;
  }
  return QL_STATUS_OK;
}

/* One list of the tensors of all shards. */
static ql_status collect(ql_file *f, ql_error *error)
{
  for (size_t i = 0; i < f->shard_count; i++)
    f->count += f->shards[i].header.count;
  f->tensors = qli_alloc(f->ctx, f->count, sizeof f->tensors[0]);
  if (f->tensors == NULL)
    return qli_io_fail(error, QL_STATUS_NO_MEMORY, f->path, NULL, "no memory for %zu tensors",
                       f->count);
  size_t n = 0;
  for (size_t i = 0; i < f->shard_count; i++) {
    qli_st_header *h = &f->shards[i].header;
    for (size_t k = 0; k < h->count; k++) {
      f->tensors[n] = h->tensors[k];
      f->tensors[n++].shard = (uint32_t)i;
    }
    qli_free(f->ctx, h->tensors);
    h->tensors = NULL;
    h->count = 0;
  }
  if (f->shard_count > 1 && n > 1)
    qsort(f->tensors, n, sizeof f->tensors[0], qli_st_compare_names);
  for (size_t i = 1; i < n; i++)
    if (strcmp(f->tensors[i - 1].name, f->tensors[i].name) == 0)
      return qli_io_fail(error, QL_STATUS_FORMAT, f->shards[f->tensors[i].shard].path,
                         f->tensors[i].name, "is also in %.100s",
                         f->shards[f->tensors[i - 1].shard].path);
  return QL_STATUS_OK;
}

static ql_status open_indexed(ql_file *f, int dir, int fd, const char *index_path, ql_error *error)
{
  size_t size;
  char *text = NULL;
  qli_st_index index = {0};
  ql_status status;
  QLI_CHECK(check_regular(f, fd, index_path, &size, error));
  if (size > QLI_IO_MAX_HEADER) {
    status = qli_io_fail(error, QL_STATUS_FORMAT, index_path, NULL,
                         "holds %zu bytes, at most %d are read", size, QLI_IO_MAX_HEADER);
    goto done;
  }
  QLI_CHECK(read_text(f, fd, index_path, 0, size, &text, error));
  QLI_CHECK(qli_st_index_parse(f->ctx, index_path, text, size, &index, error));
  QLI_CHECK(allocate_shards(f, index.file_count, error));
  for (size_t i = 0; i < index.file_count; i++)
    QLI_CHECK(open_shard(f, dir, i, index.files[i], error));
  QLI_CHECK(collect(f, error));
  status = match_index(f, &index, index_path, error);
done:
  qli_st_index_free(f->ctx, &index);
  qli_free(f->ctx, text);
  return status;
}

/* As transformers does: model.safetensors if it is there, else the index. */
static ql_status open_directory(ql_file *f, int dir, ql_error *error)
{
  int fd;
  bool found;
  QLI_TRY(open_in(f, dir, QLI_IO_SINGLE_NAME, &fd, &found, error));
  if (found) {
    ql_status status = open_single(f, fd, QLI_IO_SINGLE_NAME, error);
    f->os->close(fd);
    return status == QL_STATUS_OK ? collect(f, error) : status;
  }
  QLI_TRY(open_in(f, dir, QLI_IO_INDEX_NAME, &fd, &found, error));
  if (!found) {
    qli_io_fail(error, QL_STATUS_NOT_FOUND, f->path, NULL,
                "has neither " QLI_IO_SINGLE_NAME " nor " QLI_IO_INDEX_NAME);
    qli_error_hint(error, "only safetensors checkpoints are read; others must be converted first");
    return QL_STATUS_NOT_FOUND;
  }
  char *index_path = qli_path_join(f->ctx, f->path, QLI_IO_INDEX_NAME);
  const ql_status status =
      index_path ? open_indexed(f, dir, fd, index_path, error)
                 : qli_io_fail(error, QL_STATUS_NO_MEMORY, f->path, NULL, "no memory for a path");
  qli_free(f->ctx, index_path);
  f->os->close(fd);
  return status;
}

static ql_status open_path(ql_file *f, ql_error *error)
{
  struct stat st;
  const int fd = f->os->open_at(AT_FDCWD, f->path, READ_FLAGS, 0);
  if (fd < 0)
    return qli_io_errno(error, errno, f->path, "cannot be opened");
  ql_status status;
  if (f->os->fstat(fd, &st) != 0)
    status = qli_io_errno(error, errno, f->path, "cannot be examined");
  else if (S_ISDIR(st.st_mode))
    status = open_directory(f, fd, error);
  else if ((status = open_single(f, fd, NULL, error)) == QL_STATUS_OK)
    status = collect(f, error);
  f->os->close(fd);
  return status;
}

ql_status qli_file_open(const ql_ctx *ctx, const qli_os *os, const char *path, ql_file **out,
                        ql_error *error)
{
  ql_file *f = qli_calloc(ctx, 1, sizeof *f);
  if (f == NULL)
    return qli_io_fail(error, QL_STATUS_NO_MEMORY, path, NULL, "no memory to open it");
  f->ctx = ctx;
  f->os = os;
  f->path = qli_string_copy(ctx, path);
  const ql_status status =
      f->path ? open_path(f, error)
              : qli_io_fail(error, QL_STATUS_NO_MEMORY, path, NULL, "no memory to open it");
  if (status != QL_STATUS_OK) {
    ql_file_close(f);
    return status;
  }
  *out = f;
  return QL_STATUS_OK;
}

ql_status ql_file_open(const ql_ctx *ctx, const char *path, ql_file **out, ql_error *error)
{
  if (ctx == NULL || path == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, path or out is NULL");
  return qli_file_open(ctx, &qli_os_system, path, out, error);
}

void ql_file_close(ql_file *file)
{
  if (file == NULL)
    return;
  const ql_ctx *ctx = file->ctx;
  for (size_t i = 0; i < file->shard_count; i++) {
    shard *s = &file->shards[i];
    if (s->map != NULL)
      munmap(s->map, s->size);
    qli_st_header_free(ctx, &s->header);
    qli_free(ctx, s->text);
    qli_free(ctx, s->path);
  }
  qli_free(ctx, file->shards);
  qli_free(ctx, file->tensors);
  qli_free(ctx, file->path);
  qli_free(ctx, file);
}

size_t ql_file_count(const ql_file *file)
{
  return file ? file->count : 0;
}

ql_status ql_file_info_at(const ql_file *file, size_t i, ql_file_info *info)
{
  if (file == NULL || info == NULL || i >= file->count || info->struct_size < sizeof(ql_file_info))
    return QL_STATUS_INVALID_ARGUMENT;
  const qli_st_tensor *t = &file->tensors[i];
  const shard *s = &file->shards[t->shard];
  ql_file_info filled = {
      .struct_size = info->struct_size,
      .name = t->name,
      .path = s->path,
      .dtype = t->dtype,
      .rank = t->rank,
      .offset = s->data + t->begin,
      .bytes = t->end - t->begin,
  };
  memcpy(filled.shape, t->shape, sizeof filled.shape);
  *info = filled;
  return QL_STATUS_OK;
}

ql_status ql_file_find(const ql_file *file, const char *name, size_t *index, ql_error *error)
{
  if (file == NULL || name == NULL || index == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "file, name or index is NULL");
  const qli_st_tensor key = {.name = name};
  const qli_st_tensor *found =
      bsearch(&key, file->tensors, file->count, sizeof file->tensors[0], qli_st_compare_names);
  if (found == NULL)
    return qli_io_fail(error, QL_STATUS_NOT_FOUND, file->path, name, "is missing");
  *index = (size_t)(found - file->tensors);
  return QL_STATUS_OK;
}

ql_status ql_file_tensor(const ql_file *file, size_t i, ql_tensor *out, ql_error *error)
{
  if (file == NULL || out == NULL || i >= file->count)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "file or out is NULL, or there is no tensor %zu", i);
  const qli_st_tensor *t = &file->tensors[i];
  const shard *s = &file->shards[t->shard];
  ql_tensor view;
  size_t bytes;
  const ql_status status = ql_tensor_bytes(t->dtype, t->rank, t->shape, &bytes);
  if (status != QL_STATUS_OK || bytes != t->end - t->begin)
    return qli_io_fail(error, QL_STATUS_UNSUPPORTED, s->path, t->name,
                       "its %s rows do not end at whole bytes", ql_dtype_name(t->dtype));
  QLI_TRY(ql_tensor_init(&view, s->map + s->data + t->begin, t->dtype, t->rank, t->shape));
  *out = view;
  return QL_STATUS_OK;
}

void ql_file_release(const ql_file *file, size_t i)
{
  if (file == NULL || i >= file->count)
    return;
  const qli_st_tensor *t = &file->tensors[i];
  const shard *s = &file->shards[t->shard];
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  /* Whole pages inside the tensor only: its neighbours may still be in use. */
  const size_t begin = qli_ceil_div(s->data + (size_t)t->begin, page) * page;
  const size_t end = (s->data + (size_t)t->end) / page * page;
  if (begin < end)
    (void)madvise(s->map + begin, end - begin, MADV_DONTNEED);
}

const char *ql_file_metadata(const ql_file *file, const char *key)
{
  for (size_t i = 0; file != NULL && key != NULL && i < file->shard_count; i++) {
    const qli_st_header *h = &file->shards[i].header;
    for (size_t k = 0; k < h->pair_count; k++)
      if (strcmp(h->pairs[k].key, key) == 0)
        return h->pairs[k].value;
  }
  return NULL;
}
