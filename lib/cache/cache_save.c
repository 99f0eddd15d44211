/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include "../io/io_util.h"
#include "../io/replace.h"
#include "checked.h"
#include "error.h"
#include "parts.h"

#include <errno.h>
#include <string.h>

/* What the file will hold, in its order. */
typedef struct {
  const ql_ctx *ctx;
  const qli_os *os;
  int fd;
  size_t records, names_bytes, head_bytes;
  unsigned char *head;      /* header, records, names, zeros up to the data */
  const ql_packed **packed; /* of each record */
  uint64_t end, sum;
} image;

static const ql_packed *child_of(const ql_packed *p, size_t i)
{
  if (p->parts == NULL)
    return NULL;
  return i == 0 ? p->parts->side : i == 1 ? p->parts->lora_a : p->parts->lora_b;
}

static qli_cache_record *record_at(const image *m, size_t i)
{
  return (qli_cache_record *)(void *)(m->head + sizeof(qli_cache_header)) + i;
}

static void describe(const ql_packed *p, qli_cache_record *r)
{
  const qlk_weights *w = &p->weights;
  r->n = p->n;
  r->k = p->k;
  r->packed_k = w->k;
  r->groups = w->groups;
  r->group = p->group;
  r->layout = p->layout;
  r->wtype = p->wtype;
  r->bits = p->bits;
  r->dtype = p->dtype;
  r->scale_type = w->scale_type;
  r->side_count = p->parts != NULL ? p->parts->side_count : 0;
  r->tables = w->table == NULL ? 0u : w->table_stride == 0 ? 1u : 2u;
  if (w->table != NULL)
    r->levels = w->table_stride != 0 ? (uint32_t)(w->table_stride / p->nr)
                : p->wtype == QLK_W8 ? 256u
                                     : 16u;
  r->unit = w->numbers != NULL ? w->unit : 0.0f;
  r->flags = (w->zeros != NULL ? QLI_CACHE_ZEROS : 0u) |
             (w->fzeros != NULL ? QLI_CACHE_FZEROS : 0u) |
             (p->gather != NULL ? QLI_CACHE_GATHER : 0u) | (w->sums != NULL ? QLI_CACHE_SUMS : 0u) |
             (p->permuted ? QLI_CACHE_PERMUTED : 0u) |
             (p->parts != NULL && p->parts->in_scale != NULL ? QLI_CACHE_IN_SCALE : 0u);
}

/* Places the data of record i behind what is there. */
static bool place(image *m, size_t i, const ql_packed *p, uint64_t name_at)
{
  qli_cache_record *r = record_at(m, i);
  qli_cache_extra extra;
  describe(p, r);
  m->packed[i] = p;
  r->name_at = name_at;
  r->data_at = m->end;
  r->data_bytes = p->data_bytes;
  if (!qli_cache_extra_of(r, &extra))
    return false;
  r->extra_bytes = extra.total;
  return qli_add_u64(m->end, r->data_bytes, &m->end) &&
         qli_add_u64(m->end, r->extra_bytes, &m->end) && m->end <= INT64_MAX;
}

static bool place_all(image *m, const char *const *names, const ql_packed *const *packed,
                      size_t count)
{
  char *name = (char *)record_at(m, m->records);
  const char *const first = name;
  for (size_t i = 0, at = 0; i < count; i++) {
    const size_t size = strlen(names[i]) + 1, parent = at;
    memcpy(name, names[i], size);
    if (!place(m, at++, packed[i], (uint64_t)(name - first)))
      return false;
    name += size;
    for (size_t c = 0; c < QLI_CACHE_CHILDREN; c++) {
      const ql_packed *child = child_of(packed[i], c);
      if (child == NULL)
        continue;
      record_at(m, parent)->child[c] = (uint32_t)at;
      if (!place(m, at++, child, UINT64_MAX))
        return false;
    }
  }
  return true;
}

static bool write_at(image *m, const void *bytes, size_t size, uint64_t *at)
{
  if (size == 0)
    return true;
  m->sum = qli_cache_sum(m->sum, bytes, size);
  const bool written = qli_os_write(m->os, m->fd, bytes, size, *at);
  *at += size;
  return written;
}

/* The arrays of parts, which are small, as one block. */
static bool write_parts(image *m, const qli_cache_record *r, const qli_packed_parts *parts,
                        uint64_t *at)
{
  qli_cache_extra extra;
  unsigned char *block = qli_calloc(m->ctx, 1, (size_t)r->extra_bytes);
  if (block == NULL) {
    errno = ENOMEM;
    return false;
  }
  (void)qli_cache_extra_of(r, &extra);
  const size_t side = parts->side_count * sizeof(float);
  if (parts->in_scale != NULL)
    memcpy(block + extra.in_scale, parts->in_scale, (size_t)r->packed_k * sizeof(float));
  if (side > 0) {
    memcpy(block + extra.side_cols, parts->side_cols, side);
    memcpy(block + extra.side_at, parts->side_at, side);
    memcpy(block + extra.side_scale, parts->side_scale, side);
  }
  const bool written = write_at(m, block, (size_t)r->extra_bytes, at);
  qli_free(m->ctx, block);
  return written;
}

static bool write_data(image *m)
{
  for (size_t i = 0; i < m->records; i++) {
    const ql_packed *p = m->packed[i];
    const qli_cache_record *r = record_at(m, i);
    uint64_t at = r->data_at;
    if (!write_at(m, p->weights.codes, p->data_bytes, &at) ||
        (r->extra_bytes > 0 && !write_parts(m, r, p->parts, &at)))
      return false;
  }
  return true;
}

static bool write_head(image *m, const uint8_t *key)
{
  qli_cache_header *h = (qli_cache_header *)(void *)m->head;
  memcpy(h->magic, qli_cache_magic, sizeof h->magic);
  h->version = QLI_CACHE_VERSION;
  h->records = (uint32_t)m->records;
  h->file_bytes = m->end;
  h->names_bytes = m->names_bytes;
  h->fingerprint = qli_cache_fingerprint(m->ctx);
  h->data_sum = m->sum;
  memcpy(h->key, key, sizeof h->key);
  h->head_sum = qli_cache_head_sum(h, m->head_bytes);
  return qli_os_write(m->os, m->fd, m->head, m->head_bytes, 0);
}

static ql_status make_head(image *m, const char *const *names, const ql_packed *const *packed,
                           size_t count, ql_error *error)
{
  size_t bytes;
  for (size_t i = 0; i < count; i++) {
    if (packed[i] == NULL || names[i] == NULL || !qli_name_valid(names[i]))
      return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "matrix %zu is NULL or its name not valid",
                      i);
    m->records++;
    for (size_t c = 0; c < QLI_CACHE_CHILDREN; c++)
      m->records += child_of(packed[i], c) != NULL;
    if (!qli_add_size(m->names_bytes, strlen(names[i]) + 1, &m->names_bytes))
      return qli_fail(error, QL_STATUS_OVERFLOW, "the names are too long");
  }
  if (m->records > QLI_IO_MAX_TENSORS ||
      !qli_mul_size(m->records, sizeof(qli_cache_record), &bytes) ||
      !qli_add_size(bytes, m->names_bytes, &bytes) ||
      !qli_add_size(bytes, sizeof(qli_cache_header) + QLI_CACHE_PAGE - 1, &bytes))
    return qli_fail(error, QL_STATUS_OVERFLOW, "%zu matrices are too many", count);
  m->head_bytes = bytes / QLI_CACHE_PAGE * QLI_CACHE_PAGE;
  m->head = qli_calloc(m->ctx, 1, m->head_bytes);
  m->packed = qli_alloc(m->ctx, m->records, sizeof(const ql_packed *));
  if (m->head == NULL || m->packed == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for the table of %zu matrices", count);
  m->end = m->head_bytes;
  if (!place_all(m, names, packed, count))
    return qli_fail(error, QL_STATUS_OVERFLOW, "%zu matrices are too large for a file", count);
  return QL_STATUS_OK;
}

static ql_status write_file(image *m, const char *path, const uint8_t *key, ql_error *error)
{
  qli_replacement r;
  ql_status status = QL_STATUS_OK;
  QLI_TRY(qli_replace_begin(m->ctx, m->os, path, &r, error));
  m->fd = r.fd;
  if (m->os->reserve(m->fd, (off_t)m->end) != 0 || !write_data(m) || !write_head(m, key))
    status = qli_io_errno(error, errno, path, "cannot be written");
  return qli_replace_end(&r, status, error);
}

ql_status qli_cache_save(const ql_ctx *ctx, const qli_os *os, const char *path, const uint8_t *key,
                         const char *const *names, const ql_packed *const *packed, size_t count,
                         ql_error *error)
{
  image m = {.ctx = ctx, .os = os};
  ql_status status = make_head(&m, names, packed, count, error);
  if (status == QL_STATUS_OK)
    status = write_file(&m, path, key, error);
  qli_free(ctx, m.head);
  qli_free(ctx, (void *)m.packed);
  return status;
}

ql_status ql_packed_save(const ql_ctx *ctx, const char *path, const uint8_t *key,
                         const char *const *names, const ql_packed *const *packed, size_t count,
                         ql_error *error)
{
  if (ctx == NULL || path == NULL || key == NULL ||
      (count > 0 && (names == NULL || packed == NULL)))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, path, key, names or packed is NULL");
  for (size_t i = 0; i < count; i++)
    if (packed[i] != NULL && packed[i]->layout != qli_packed_unit(ctx, packed[i])->layout_id)
      return qli_fail(error, QL_STATUS_LAYOUT, "matrix %zu is packed for other kernels", i);
  return qli_cache_save(ctx, &qli_os_system, path, key, names, packed, count, error);
}
