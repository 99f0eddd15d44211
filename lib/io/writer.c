/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "writer.h"

#include "checked.h"
#include "ctx.h"
#include "error.h"
#include "fs_dir.h"
#include "io_util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ql_status qli_writer_errno(const ql_writer *w, int code, const char *name, const char *what,
                           ql_error *error)
{
  char *path = qli_path_join(w->ctx, w->partial, name);
  const ql_status status = qli_io_errno(error, code, path ? path : name, what);
  qli_free(w->ctx, path);
  return status;
}

static char *with_suffix(const ql_ctx *ctx, const char *dir, const char *suffix)
{
  const size_t size = strlen(dir), more = strlen(suffix) + 1;
  char *path = qli_alloc(ctx, size + more, 1);
  if (path != NULL) {
    memcpy(path, dir, size);
    memcpy(path + size, suffix, more);
  }
  return path;
}

/* dir without slashes at its end; it must have a last component that can be renamed. */
static ql_status set_dir(ql_writer *w, const char *dir, ql_error *error)
{
  size_t size = strlen(dir);
  while (size > 1 && dir[size - 1] == '/')
    size--;
  const char *slash = memrchr(dir, '/', size);
  const char *last = slash ? slash + 1 : dir;
  const size_t last_size = (size_t)(dir + size - last);
  if (last_size == 0 || (last_size <= 2 && memcmp(last, "..", last_size) == 0))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "\"%.200s\" is not the name of a directory to create", dir);
  w->dir = qli_alloc(w->ctx, size + 1, 1);
  w->parent = qli_alloc(w->ctx, size + 2, 1);
  if (w->dir == NULL || w->parent == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a path");
  memcpy(w->dir, dir, size);
  w->dir[size] = '\0';
  const size_t parent_size = (size_t)(last - dir);
  memcpy(w->parent, parent_size ? dir : ".", parent_size ? parent_size : 1);
  w->parent[parent_size ? parent_size : 1] = '\0';
  return QL_STATUS_OK;
}

/* Where the parent is at fault, that is the name that the caller knows. */
static ql_status fail_mkdir(const ql_writer *w, int code, const char *path, ql_error *error)
{
  const bool parent =
      code == ENOENT || code == ENOTDIR || code == EACCES || code == EPERM || code == EROFS;
  return parent ? qli_io_errno(error, code, w->parent, "no directory can be created in it")
                : qli_io_errno(error, code, path, "cannot be created");
}

/* A directory of a process that was killed and had our number must not stop us: some other name
 * is taken then. It may also belong to another writer of this process, so it stays. */
static ql_status make_partial(ql_writer *w, ql_error *error)
{
  enum { TRIES = 100 };
  for (int i = 0; i < TRIES; i++) {
    char suffix[64];
    snprintf(suffix, sizeof suffix, i ? ".partial-%ld-%d" : ".partial-%ld", (long)getpid(), i);
    char *path = with_suffix(w->ctx, w->dir, suffix);
    if (path == NULL)
      return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a path");
    if (w->os->mkdir(path) == 0) {
      w->partial = path;
      return QL_STATUS_OK;
    }
    ql_status status = QL_STATUS_OK;
    if (errno != EEXIST || i + 1 == TRIES)
      status = fail_mkdir(w, errno, path, error);
    qli_free(w->ctx, path);
    if (status != QL_STATUS_OK)
      return status;
  }
  return QL_STATUS_INTERNAL;
}

static ql_status prepare(ql_writer *w, const char *dir, ql_error *error)
{
  bool replace;
  char suffix[48];
  QLI_TRY(set_dir(w, dir, error));
  QLI_TRY(qli_dir_check_target(w->dir, w->config.overwrite != 0, &replace, error));
  snprintf(suffix, sizeof suffix, ".old-%ld", (long)getpid());
  w->aside = with_suffix(w->ctx, w->dir, suffix);
  if (w->aside == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a path");
  QLI_TRY(make_partial(w, error));
  w->dir_fd = w->os->open_at(AT_FDCWD, w->partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  if (w->dir_fd < 0)
    return qli_io_errno(error, errno, w->partial, "cannot be opened");
  return QL_STATUS_OK;
}

ql_status qli_writer_create(const ql_ctx *ctx, const qli_os *os, const char *dir,
                            const ql_writer_config *config, ql_writer **out, ql_error *error)
{
  ql_writer_config c = QL_WRITER_CONFIG_INIT;
  if (config != NULL && !qli_config_copy(&c, sizeof c, sizeof c, config))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "ql_writer_config.struct_size is %zu, not that of QL_WRITER_CONFIG_INIT",
                    config->struct_size);
  if (c.overwrite < 0 || c.overwrite > 1 || c.reserved != 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "overwrite is neither 0 nor 1, or reserved is not 0");
  ql_writer *w = qli_calloc(ctx, 1, sizeof *w);
  if (w == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a writer");
  w->ctx = ctx;
  w->os = os;
  w->config = c;
  w->dir_fd = -1;
  const ql_status status = prepare(w, dir, error);
  if (status != QL_STATUS_OK) {
    ql_writer_destroy(w);
    return status;
  }
  *out = w;
  return QL_STATUS_OK;
}

ql_status ql_writer_create(const ql_ctx *ctx, const char *dir, const ql_writer_config *config,
                           ql_writer **out, ql_error *error)
{
  if (ctx == NULL || dir == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, dir or out is NULL");
  return qli_writer_create(ctx, &qli_os_system, dir, config, out, error);
}

/* Closes the shards and, unless they are to stay, removes their files. */
static void drop_shards(ql_writer *w, bool remove_files)
{
  for (size_t i = 0; i < w->shard_count; i++) {
    qli_out_shard *s = &w->shards[i];
    if (s->fd >= 0) {
      (void)w->os->close(s->fd);
      if (remove_files)
        (void)unlinkat(w->dir_fd, s->name, 0);
    }
    qli_text_free(&s->header);
  }
  qli_free(w->ctx, w->shards);
  qli_free(w->ctx, w->put);
  w->shards = NULL;
  w->put = NULL;
  w->shard_count = 0;
}

void ql_writer_destroy(ql_writer *writer)
{
  if (writer == NULL)
    return;
  const ql_ctx *ctx = writer->ctx;
  drop_shards(writer, false);
  if (writer->dir_fd >= 0)
    (void)writer->os->close(writer->dir_fd);
  if (writer->partial != NULL && writer->state != QLI_WRITER_DONE) {
    const int code = qli_dir_remove(writer->partial);
    if (code != 0 && code != ENOENT)
      qli_log(ctx, QL_LOG_WARNING, "%.300s could not be removed (errno %d)", writer->partial, code);
  }
  for (size_t i = 0; i < writer->count; i++)
    qli_free(ctx, (void *)(uintptr_t)writer->tensors[i].name);
  qli_free(ctx, writer->tensors);
  qli_free(ctx, writer->dir);
  qli_free(ctx, writer->partial);
  qli_free(ctx, writer->aside);
  qli_free(ctx, writer->parent);
  qli_free(ctx, writer);
}

const char *ql_writer_partial_dir(const ql_writer *writer)
{
  return writer ? writer->partial : NULL;
}

uint64_t ql_writer_bytes(const ql_writer *writer)
{
  return writer ? writer->bytes : 0;
}

static ql_status check_state(const ql_writer *w, enum qli_writer_state wanted, const char *call,
                             ql_error *error)
{
  static const char *const names[] = {"before ql_writer_begin", "after ql_writer_begin",
                                      "after ql_writer_finish", "after a failure"};
  if (w->state == wanted)
    return QL_STATUS_OK;
  return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "%s is called %s", call, names[w->state]);
}

/* Fills *t but for its name. */
static ql_status describe(const ql_writer *w, const char *name, ql_dtype dtype, int32_t rank,
                          const size_t *shape, qli_st_tensor *t, ql_error *error)
{
  size_t view_bytes;
  if (rank < 0 || rank > QL_MAX_RANK || (rank > 0 && shape == NULL))
    return qli_io_fail(error, QL_STATUS_INVALID_ARGUMENT, w->dir, name, "rank %d, shape %s",
                       (int)rank, shape ? "given" : "NULL");
  if (qli_st_rank(dtype) < 0)
    return qli_io_fail(error, QL_STATUS_DTYPE, w->dir, name, "safetensors has no type %s",
                       ql_dtype_name(dtype));
  *t = (qli_st_tensor){.dtype = dtype, .rank = rank};
  if (rank > 0)
    memcpy(t->shape, shape, (size_t)rank * sizeof shape[0]);
  ql_status status = qli_st_bytes(dtype, rank, t->shape, &t->end);
  if (status == QL_STATUS_OK)
    status = ql_tensor_bytes(dtype, rank, t->shape, &view_bytes);
  if (status == QL_STATUS_OVERFLOW)
    return qli_io_fail(error, status, w->dir, name, "its size overflows");
  if (status != QL_STATUS_OK || view_bytes != t->end)
    return qli_io_fail(error, QL_STATUS_SHAPE, w->dir, name, "its %s rows do not fill whole bytes",
                       ql_dtype_name(dtype));
  return QL_STATUS_OK;
}

ql_status ql_writer_declare(ql_writer *writer, const char *name, ql_dtype dtype, int32_t rank,
                            const size_t *shape, ql_error *error)
{
  qli_st_tensor t;
  uint64_t total;
  if (writer == NULL || name == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "writer or name is NULL");
  QLI_TRY(check_state(writer, QLI_WRITER_DECLARING, "ql_writer_declare", error));
  if (!qli_name_valid(name) || strcmp(name, "__metadata__") == 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "\"%.100s\" cannot name a tensor", name);
  QLI_TRY(describe(writer, name, dtype, rank, shape, &t, error));
  if (!qli_add_u64(writer->bytes, t.end, &total) || writer->count == QLI_IO_MAX_TENSORS)
    return qli_io_fail(error, QL_STATUS_OVERFLOW, writer->dir, name,
                       "is too much for one checkpoint");
  void *tensors = writer->tensors;
  const bool room = qli_grow(writer->ctx, &tensors, &writer->capacity, writer->count, sizeof t);
  writer->tensors = tensors;
  t.name = room ? qli_string_copy(writer->ctx, name) : NULL;
  if (t.name == NULL)
    return qli_io_fail(error, QL_STATUS_NO_MEMORY, writer->dir, name, "no memory to declare it");
  writer->tensors[writer->count++] = t;
  writer->bytes = total;
  return QL_STATUS_OK;
}

static ql_status check_names(const ql_writer *w, ql_error *error)
{
  for (size_t i = 1; i < w->count; i++)
    if (strcmp(w->tensors[i - 1].name, w->tensors[i].name) == 0)
      return qli_io_fail(error, QL_STATUS_INVALID_ARGUMENT, w->dir, w->tensors[i].name,
                         "was declared twice");
  return QL_STATUS_OK;
}

/* order: the tensors by shard and position. Headers of all shards, nothing on disk yet. */
static ql_status build_headers(ql_writer *w, const qli_st_tensor *const *order, ql_error *error)
{
  size_t first = 0;
  for (size_t i = 0; i < w->shard_count; i++) {
    qli_out_shard *s = &w->shards[i];
    size_t n = 0;
    while (first + n < w->count && order[first + n]->shard == i)
      n++;
    qli_st_shard_name(s->name, i, w->shard_count);
    s->data_bytes = n ? order[first + n - 1]->end : 0;
    qli_st_header_text(&s->header, order + first, n);
    if (s->header.failed)
      return qli_io_fail(error, QL_STATUS_NO_MEMORY, w->dir, NULL, "no memory for a header");
    if (s->header.size - 8 > QLI_IO_MAX_HEADER)
      return qli_io_fail(error, QL_STATUS_OVERFLOW, w->dir, NULL,
                         "the header of %s takes %zu bytes, the format allows %d", s->name,
                         s->header.size - 8, QLI_IO_MAX_HEADER);
    first += n;
  }
  return QL_STATUS_OK;
}

static ql_status allocate_shards(ql_writer *w, size_t shards, ql_error *error)
{
  w->put = qli_calloc(w->ctx, w->count, 1);
  w->shards = qli_calloc(w->ctx, shards, sizeof w->shards[0]);
  if (w->put == NULL || w->shards == NULL)
    return qli_io_fail(error, QL_STATUS_NO_MEMORY, w->dir, NULL, "no memory for %zu shards",
                       shards);
  w->shard_count = shards;
  for (size_t i = 0; i < shards; i++) {
    w->shards[i].fd = -1;
    w->shards[i].header.ctx = w->ctx;
  }
  return QL_STATUS_OK;
}

static ql_status lay_out(ql_writer *w, const qli_st_tensor **order, ql_error *error)
{
  size_t shards;
  if (!qli_st_place(w->tensors, w->count, w->config.shard_bytes, order, &shards))
    return qli_io_fail(error, QL_STATUS_OVERFLOW, w->dir, NULL, "its tensors overflow one file");
  QLI_TRY(check_names(w, error));
  QLI_TRY(allocate_shards(w, shards, error));
  return build_headers(w, order, error);
}

static ql_status make_layout(ql_writer *w, ql_error *error)
{
  const qli_st_tensor **order = qli_alloc(w->ctx, w->count, sizeof order[0]);
  if (order == NULL)
    return qli_io_fail(error, QL_STATUS_NO_MEMORY, w->dir, NULL, "no memory for %zu tensors",
                       w->count);
  const ql_status status = lay_out(w, order, error);
  qli_free(w->ctx, (void *)order);
  return status;
}

static ql_status check_space(const ql_writer *w, ql_error *error)
{
  uint64_t needed = 0, available;
  for (size_t i = 0; i < w->shard_count; i++)
    if (!qli_add_u64(needed, w->shards[i].header.size, &needed) ||
        !qli_add_u64(needed, w->shards[i].data_bytes, &needed) || needed > INT64_MAX)
      return qli_io_fail(error, QL_STATUS_OVERFLOW, w->dir, NULL, "its size overflows");
  if (w->os->free_space(w->dir_fd, &available) != 0)
    return qli_io_errno(error, errno, w->partial, "free space cannot be told");
  if (available >= needed)
    return QL_STATUS_OK;
  qli_io_fail(error, QL_STATUS_IO, w->partial, NULL,
              "the disk is too full: %llu bytes are needed, %llu are free",
              (unsigned long long)needed, (unsigned long long)available);
  qli_error_hint(error, "free some space, or write to another file system");
  return qli_io_restate(error, QL_STATUS_IO, ENOSPC);
}

/* Takes the disk space of the whole shard at once, so that a disk that fills up later does not
 * end hours of work; a file system that cannot do that gives it bit by bit. */
static ql_status start_shard(const ql_writer *w, qli_out_shard *s, ql_error *error)
{
  QLI_TRY(qli_writer_open(w, s->name, &s->fd, error));
  const uint64_t size = s->header.size + s->data_bytes;
  if (w->os->reserve(s->fd, (off_t)size) != 0 && errno != EOPNOTSUPP && errno != ENOSYS &&
      errno != EINVAL)
    return qli_writer_errno(w, errno, s->name, "disk space cannot be reserved", error);
  if (!qli_os_write(w->os, s->fd, s->header.data, s->header.size, 0))
    return qli_writer_errno(w, errno, s->name, "cannot be written", error);
  return QL_STATUS_OK;
}

ql_status ql_writer_begin(ql_writer *writer, ql_error *error)
{
  if (writer == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "writer is NULL");
  QLI_TRY(check_state(writer, QLI_WRITER_DECLARING, "ql_writer_begin", error));
  ql_status status = make_layout(writer, error);
  if (status == QL_STATUS_OK)
    status = check_space(writer, error);
  for (size_t i = 0; status == QL_STATUS_OK && i < writer->shard_count; i++)
    status = start_shard(writer, &writer->shards[i], error);
  if (status == QL_STATUS_OK)
    writer->state = QLI_WRITER_WRITING;
  else
    drop_shards(writer, true);
  return status;
}

static ql_status check_data(const ql_writer *w, const qli_st_tensor *t, const ql_tensor *data,
                            ql_error *error)
{
  QLI_TRY(ql_tensor_check(data, error));
  if (data->dtype != t->dtype)
    return qli_io_fail(error, QL_STATUS_DTYPE, w->dir, t->name, "is %s, was declared as %s",
                       ql_dtype_name(data->dtype), ql_dtype_name(t->dtype));
  if (data->rank != t->rank ||
      memcmp(data->shape, t->shape, (size_t)t->rank * sizeof t->shape[0]) != 0)
    return qli_io_fail(error, QL_STATUS_SHAPE, w->dir, t->name,
                       "its shape is not the one that was declared");
  return QL_STATUS_OK;
}

ql_status ql_writer_put(ql_writer *writer, const char *name, const ql_tensor *data, ql_error *error)
{
  if (writer == NULL || name == NULL || data == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "writer, name or data is NULL");
  QLI_TRY(check_state(writer, QLI_WRITER_WRITING, "ql_writer_put", error));
  const qli_st_tensor key = {.name = name};
  const qli_st_tensor *t =
      bsearch(&key, writer->tensors, writer->count, sizeof key, qli_st_compare_names);
  if (t == NULL)
    return qli_io_fail(error, QL_STATUS_NOT_FOUND, writer->dir, name, "was never declared");
  unsigned char *put = &writer->put[t - writer->tensors];
  if (*put)
    return qli_io_fail(error, QL_STATUS_INVALID_ARGUMENT, writer->dir, name, "was put before");
  QLI_TRY(check_data(writer, t, data, error));
  const qli_out_shard *s = &writer->shards[t->shard];
  const ql_status status = qli_write_tensor(writer, s, s->header.size + t->begin, data, error);
  if (status == QL_STATUS_OK)
    *put = 1;
  else
    qli_error_tensor(error, name);
  return status;
}

/* Names that the writer itself uses. */
static bool reserved_name(const char *name)
{
  static const char suffix[] = ".safetensors";
  const size_t size = strlen(name), suffix_size = sizeof suffix - 1;
  return strcmp(name, QLI_IO_INDEX_NAME) == 0 ||
         (size >= suffix_size && strcmp(name + size - suffix_size, suffix) == 0);
}

ql_status ql_writer_put_file(ql_writer *writer, const char *name, const void *bytes, size_t size,
                             ql_error *error)
{
  if (writer == NULL || name == NULL || (bytes == NULL && size != 0))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "writer, name or bytes is NULL");
  if (writer->state != QLI_WRITER_DECLARING)
    QLI_TRY(check_state(writer, QLI_WRITER_WRITING, "ql_writer_put_file", error));
  if (!qli_plain_file_name(name) || reserved_name(name))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "\"%.100s\" cannot name a file beside the tensors", name);
  return qli_writer_small(writer, name, bytes, size, error);
}

static ql_status write_index(const ql_writer *w, ql_error *error)
{
  qli_text text = {.ctx = w->ctx};
  qli_st_index_text(&text, w->tensors, w->count, w->shard_count, w->bytes);
  const ql_status status =
      text.failed ? qli_io_fail(error, QL_STATUS_NO_MEMORY, w->dir, NULL, "no memory for its index")
                  : qli_writer_small(w, QLI_IO_INDEX_NAME, text.data, text.size, error);
  qli_text_free(&text);
  return status;
}

ql_status ql_writer_finish(ql_writer *writer, ql_error *error)
{
  if (writer == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "writer is NULL");
  QLI_TRY(check_state(writer, QLI_WRITER_WRITING, "ql_writer_finish", error));
  for (size_t i = 0; i < writer->count; i++)
    if (!writer->put[i])
      return qli_io_fail(error, QL_STATUS_INVALID_ARGUMENT, writer->dir, writer->tensors[i].name,
                         "was declared but never put");
  /* Data that a failed sync lost cannot be told from data that arrived: no second try. */
  writer->state = QLI_WRITER_BROKEN;
  if (writer->shard_count > 1)
    QLI_TRY(write_index(writer, error));
  QLI_TRY(qli_writer_publish(writer, error));
  writer->state = QLI_WRITER_DONE;
  return QL_STATUS_OK;
}
