/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "writer.h"

#include "checked.h"
#include "ctx.h"
#include "error.h"
#include "io_util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

ql_status qli_writer_open(const ql_writer *w, const char *name, int *fd, ql_error *error)
{
  const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  const int opened = w->os->open_at(w->dir_fd, name, flags, 0666);
  if (opened < 0)
    return qli_writer_errno(w, errno, name, "cannot be created", error);
  *fd = opened;
  return QL_STATUS_OK;
}

ql_status qli_writer_small(const ql_writer *w, const char *name, const void *bytes, size_t size,
                           ql_error *error)
{
  int fd = -1;
  ql_status status = QL_STATUS_OK;
  QLI_TRY(qli_writer_open(w, name, &fd, error));
  if (!qli_os_write(w->os, fd, bytes, size, 0))
    status = qli_writer_errno(w, errno, name, "cannot be written", error);
  else if (w->os->fsync(fd) != 0)
    status = qli_writer_errno(w, errno, name, "cannot be synced to disk", error);
  if (w->os->close(fd) != 0 && errno != EINTR && status == QL_STATUS_OK)
    status = qli_writer_errno(w, errno, name, "cannot be closed", error);
  if (status != QL_STATUS_OK)
    (void)unlinkat(w->dir_fd, name, 0);
  return status;
}

/* Gathers the pieces of a strided tensor and writes them in larger ones. */
typedef struct {
  const ql_writer *w;
  const qli_out_shard *shard;
  unsigned char *buffer;
  size_t filled;
  uint64_t offset;
} sink;

enum { SINK_BYTES = 1 << 18 };

static bool flush(sink *s)
{
  const size_t size = s->filled;
  const uint64_t offset = s->offset;
  s->filled = 0;
  s->offset += size;
  return qli_os_write(s->w->os, s->shard->fd, s->buffer, size, offset);
}

static bool add(sink *s, const unsigned char *bytes, size_t size)
{
  while (size > 0) {
    const size_t piece = qli_min_size(size, SINK_BYTES - s->filled);
    memcpy(s->buffer + s->filled, bytes, piece);
    s->filled += piece;
    bytes += piece;
    size -= piece;
    if (s->filled == SINK_BYTES && !flush(s))
      return false;
  }
  return true;
}

static size_t row_count(const ql_tensor *t)
{
  size_t rows = 1;
  for (int32_t axis = 0; axis + 1 < t->rank; axis++)
    rows *= t->shape[axis];
  return rows;
}

static const unsigned char *row_at(const ql_tensor *t, size_t index)
{
  const unsigned char *row = t->data;
  for (int32_t axis = t->rank - 2; axis >= 0; axis--) {
    row += (ptrdiff_t)(index % t->shape[axis]) * t->stride[axis];
    index /= t->shape[axis];
  }
  return row;
}

static bool add_row(sink *s, const ql_tensor *t, const unsigned char *row)
{
  const size_t n = t->rank ? t->shape[t->rank - 1] : 1;
  const size_t bits = ql_dtype_bits(t->dtype), size = bits / 8;
  const ptrdiff_t stride = t->rank ? t->stride[t->rank - 1] : (ptrdiff_t)size;
  if (bits < 8 || stride == (ptrdiff_t)size)
    return add(s, row, n * bits / 8);
  for (size_t i = 0; i < n; i++)
    if (!add(s, row + (ptrdiff_t)i * stride, size))
      return false;
  return true;
}

/* As ql_tensor_init would make it; axes of one element may have any stride. */
static bool contiguous(const ql_tensor *t)
{
  const size_t bits = ql_dtype_bits(t->dtype);
  size_t step = bits / 8;
  for (int32_t axis = t->rank - 1; axis >= 0; axis--) {
    const bool packed = axis == t->rank - 1 && bits < 8;
    if (!packed && t->shape[axis] != 1 && t->stride[axis] != (ptrdiff_t)step)
      return false;
    step = packed ? t->shape[axis] * bits / 8 : step * t->shape[axis];
  }
  return true;
}

static bool write_strided(const ql_writer *w, const qli_out_shard *shard, uint64_t offset,
                          const ql_tensor *t, unsigned char *buffer)
{
  sink s = {.w = w, .shard = shard, .buffer = buffer, .offset = offset};
  const size_t rows = row_count(t);
  for (size_t r = 0; r < rows; r++)
    if (!add_row(&s, t, row_at(t, r)))
      return false;
  return flush(&s);
}

ql_status qli_write_tensor(const ql_writer *w, const qli_out_shard *shard, uint64_t offset,
                           const ql_tensor *data, ql_error *error)
{
  size_t bytes = 0;
  bool written;
  QLI_TRY(ql_tensor_bytes(data->dtype, data->rank, data->shape, &bytes));
  if (bytes == 0)
    return QL_STATUS_OK;
  if (contiguous(data)) {
    written = qli_os_write(w->os, shard->fd, data->data, bytes, offset);
  } else {
    unsigned char *buffer = qli_alloc(w->ctx, SINK_BYTES, 1);
    if (buffer == NULL)
      return qli_io_fail(error, QL_STATUS_NO_MEMORY, w->dir, NULL, "no memory to write it");
    written = write_strided(w, shard, offset, data, buffer);
    const int code = errno;
    qli_free(w->ctx, buffer);
    errno = code;
  }
  return written ? QL_STATUS_OK
                 : qli_writer_errno(w, errno, shard->name, "cannot be written", error);
}
