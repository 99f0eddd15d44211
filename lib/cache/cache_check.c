/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include "../io/io_util.h"
#include "checked.h"
#include "error.h"

#include <float.h>
#include <string.h>

static ql_status broken(const ql_packed_file *f, ql_error *error, const char *why)
{
  return qli_io_fail(error, QL_STATUS_FORMAT, f->path, NULL, "%s", why);
}

static bool head_size(const qli_cache_header *h, uint64_t *bytes)
{
  return h->records <= QLI_IO_MAX_TENSORS && h->names_bytes <= INT64_MAX &&
         qli_add_u64(sizeof *h + (uint64_t)h->records * sizeof(qli_cache_record), h->names_bytes,
                     bytes) &&
         qli_add_u64(*bytes, QLI_CACHE_PAGE - 1, bytes) &&
         (*bytes = *bytes / QLI_CACHE_PAGE * QLI_CACHE_PAGE) <= h->file_bytes;
}

static ql_status check_header(ql_packed_file *f, const uint8_t *key, ql_error *error)
{
  const qli_cache_header *h = f->header;
  uint64_t head;
  if (f->bytes < sizeof *h || memcmp(h->magic, qli_cache_magic, sizeof h->magic) != 0)
    return broken(f, error, "not a file of packed weights");
  if (h->version != QLI_CACHE_VERSION)
    return qli_io_fail(error, QL_STATUS_LAYOUT, f->path, NULL,
                       "packed by another version of the library (layout %u, here %u)",
                       (unsigned)h->version, (unsigned)QLI_CACHE_VERSION);
  if (h->file_bytes != f->bytes)
    return broken(f, error, "the file is shorter or longer than it says");
  if (!head_size(h, &head))
    return broken(f, error, "the table does not fit the file");
  if (h->head_sum != qli_cache_head_sum(h, (size_t)head))
    return broken(f, error, "the table is damaged");
  if (h->fingerprint != qli_cache_fingerprint(f->ctx))
    return qli_io_fail(error, QL_STATUS_LAYOUT, f->path, NULL,
                       "packed for other kernels than those of %s (%016llx, here %016llx)",
                       ql_ctx_isa_name(f->ctx), (unsigned long long)h->fingerprint,
                       (unsigned long long)qli_cache_fingerprint(f->ctx));
  if (key != NULL && memcmp(key, h->key, sizeof h->key) != 0)
    return qli_io_fail(error, QL_STATUS_LAYOUT, f->path, NULL,
                       "packed from another source, or the source has changed since");
  f->records = (const qli_cache_record *)(const void *)(f->map + sizeof *h);
  f->names = (const char *)(f->records + h->records);
  return QL_STATUS_OK;
}

static bool float_type(int32_t dtype)
{
  return dtype == QL_DTYPE_F32 || dtype == QL_DTYPE_F16 || dtype == QL_DTYPE_BF16;
}

static bool bits_fit(const qli_cache_record *r)
{
  switch (r->wtype) {
  case QLK_W_F32: return r->dtype == QL_DTYPE_F32 && r->bits == 32;
  case QLK_W_F16: return r->dtype == QL_DTYPE_F16 && r->bits == 16;
  case QLK_W_BF16: return r->dtype == QL_DTYPE_BF16 && r->bits == 16;
  case QLK_W2: return r->dtype == QL_DTYPE_NONE && (r->bits == 1 || r->bits == 2);
  case QLK_W3: return r->dtype == QL_DTYPE_NONE && r->bits == 3;
  case QLK_W4: return r->dtype == QL_DTYPE_NONE && r->bits == 4;
  case QLK_W8: return r->dtype == QL_DTYPE_NONE && r->bits >= 5 && r->bits <= 8;
  default: return false;
  }
}

/* As qlk_gemm.h has them. */
static bool tables_fit(const qli_cache_record *r)
{
  const uint32_t own = r->wtype == QLK_W2   ? 4
                       : r->wtype == QLK_W3 ? 8
                       : r->wtype == QLK_W4 ? 16
                                            : 256;
  if (!(r->unit >= 0.0f && r->unit <= FLT_MAX) ||
      (r->unit != 0.0f && (r->tables != 1 || r->wtype != QLK_W4)))
    return false;
  if (r->tables == 0)
    return r->levels == 0;
  if ((r->flags & (QLI_CACHE_ZEROS | QLI_CACHE_FZEROS | QLI_CACHE_SUMS)) != 0 || r->tables > 2)
    return false;
  return r->levels == (r->tables == 1 && own < 16 ? 16 : own);
}

/* What packing makes of a matrix of this type, and nothing else. */
static bool shape_fits(const qli_cache_record *r)
{
  const uint32_t flags = r->flags;
  const bool zeros = (flags & QLI_CACHE_ZEROS) != 0, fzeros = (flags & QLI_CACHE_FZEROS) != 0;
  if (!bits_fit(r) || !float_type(r->scale_type) || (flags & ~(uint32_t)QLI_CACHE_KNOWN) != 0 ||
      r->k > INT32_MAX || r->packed_k > INT32_MAX || r->n > PTRDIFF_MAX || r->groups > r->packed_k)
    return false;
  if (r->dtype != QL_DTYPE_NONE)
    return r->groups == 0 && r->group == 0 && flags == 0 && r->side_count == 0 && r->tables == 0 &&
           r->unit == 0.0f && r->scale_type == QL_DTYPE_F32 && r->packed_k == r->k;
  const bool sums = r->wtype == QLK_W8 && !fzeros && r->tables == 0;
  return !(zeros && fzeros) && tables_fit(r) && sums == ((flags & QLI_CACHE_SUMS) != 0) &&
         (r->groups > 0) == (r->packed_k > 0) && r->side_count <= r->k &&
         ((flags & QLI_CACHE_GATHER) != 0 || r->packed_k == r->k);
}

/* The sections of a record lie where its shape puts them. */
static bool data_fits(const ql_packed_file *f, const qli_cache_record *r, uint64_t head)
{
  const qlk_gemm_unit *unit = &f->ctx->kernels.gemm.unit[r->wtype];
  const qli_packed_shape shape = qli_cache_shape(r);
  qli_packed_sections at;
  qli_cache_extra extra;
  ql_packed p;
  memset(&p, 0, sizeof p);
  if (r->packed_k % unit->kr != 0 || !qli_packed_lay_out(&shape, unit, &at, &p) ||
      !qli_cache_extra_of(r, &extra))
    return false;
  return r->data_bytes == at.total && r->extra_bytes == extra.total && r->data_at % 64 == 0 &&
         r->data_at >= head && r->data_at <= f->bytes && r->data_bytes <= f->bytes - r->data_at &&
         r->extra_bytes <= f->bytes - r->data_at - r->data_bytes;
}

static bool ends_fit(const qlk_weights *w, uint32_t kr)
{
  uint32_t last = 0;
  for (size_t g = 0; g < w->groups; g++) {
    if (w->ends[g] < last || w->ends[g] % kr != 0)
      return false;
    last = w->ends[g];
  }
  return w->groups == 0 || last == w->k;
}

static bool gather_fits(const ql_packed *p)
{
  for (size_t i = 0; p->gather != NULL && i < p->weights.k; i++)
    if (p->gather[i] < -1 || (p->gather[i] >= 0 && (size_t)p->gather[i] >= p->k))
      return false;
  return true;
}

static bool sides_fit(const qli_cache_record *r, const int32_t *cols, const uint32_t *at)
{
  for (size_t i = 0; i < r->side_count; i++)
    if (cols[i] < 0 || (uint64_t)cols[i] >= r->k || at[i] >= r->packed_k ||
        (i > 0 && cols[i] <= cols[i - 1]))
      return false;
  return true;
}

/* A part is a later record without a name or parts of its own, of the size that the place asks. */
static bool child_fits(const ql_packed_file *f, size_t i, size_t c)
{
  const qli_cache_record *r = &f->records[i];
  if (r->child[c] == 0)
    return true;
  if (r->child[c] <= i || r->child[c] >= f->header->records)
    return false;
  const qli_cache_record *p = &f->records[r->child[c]];
  if (p->name_at != UINT64_MAX || p->child[0] != 0 || p->child[1] != 0 || p->child[2] != 0 ||
      p->side_count != 0 || (p->flags & (QLI_CACHE_IN_SCALE | QLI_CACHE_GATHER)) != 0)
    return false;
  if (c == 0)
    return p->n == r->n && p->k == r->side_count && r->side_count > 0;
  const qli_cache_record *a = &f->records[r->child[1]], *b = &f->records[r->child[2]];
  return r->child[1] != 0 && r->child[2] != 0 && a->k == r->k && b->n == r->n && a->n == b->k &&
         a->dtype != QL_DTYPE_NONE && b->dtype != QL_DTYPE_NONE;
}

static bool children_fit(const ql_packed_file *f, size_t i)
{
  const qli_cache_record *r = &f->records[i];
  if ((r->side_count > 0) != (r->child[0] != 0) || (r->child[1] != 0) != (r->child[2] != 0))
    return false;
  return child_fits(f, i, 0) && child_fits(f, i, 1) && child_fits(f, i, 2);
}

static bool name_fits(const ql_packed_file *f, const qli_cache_record *r)
{
  const uint64_t bytes = f->header->names_bytes;
  if (r->name_at == UINT64_MAX)
    return true;
  return r->name_at < bytes &&
         memchr(f->names + r->name_at, 0, (size_t)(bytes - r->name_at)) != NULL &&
         qli_name_valid(f->names + r->name_at);
}

static ql_status check_record(const ql_packed_file *f, size_t i, uint64_t head, ql_error *error)
{
  const qli_cache_record *r = &f->records[i];
  qli_cache_extra extra;
  ql_packed p;
  if (!name_fits(f, r) || !shape_fits(r))
    return broken(f, error, "a matrix of the table contradicts itself");
  if (r->layout != f->ctx->kernels.gemm.unit[r->wtype].layout_id)
    return qli_io_fail(error, QL_STATUS_LAYOUT, f->path, NULL,
                       "a matrix is packed for other kernels (layout 0x%x, here 0x%x)",
                       (unsigned)r->layout,
                       (unsigned)f->ctx->kernels.gemm.unit[r->wtype].layout_id);
  if (!data_fits(f, r, head))
    return broken(f, error, "the weights of a matrix do not lie where they have to");
  qli_cache_bind(f, i, &p);
  if (!ends_fit(&p.weights, f->ctx->kernels.gemm.unit[r->wtype].kr) || !gather_fits(&p))
    return broken(f, error, "the groups or the order of columns of a matrix are damaged");
  (void)qli_cache_extra_of(r, &extra);
  const unsigned char *more = f->map + r->data_at + r->data_bytes;
  if (!sides_fit(r, (const int32_t *)(const void *)(more + extra.side_cols),
                 (const uint32_t *)(const void *)(more + extra.side_at)) ||
      !children_fit(f, i))
    return broken(f, error, "the parts of a matrix are damaged");
  return QL_STATUS_OK;
}

qli_packed_shape qli_cache_shape(const qli_cache_record *r)
{
  return (qli_packed_shape){.wtype = r->wtype,
                            .n = (size_t)r->n,
                            .k = (size_t)r->k,
                            .packed_k = (size_t)r->packed_k,
                            .groups = (size_t)r->groups,
                            .scale_type = r->scale_type,
                            .zeros = (r->flags & QLI_CACHE_ZEROS) != 0,
                            .fzeros = (r->flags & QLI_CACHE_FZEROS) != 0,
                            .gather = (r->flags & QLI_CACHE_GATHER) != 0,
                            .sums = (r->flags & QLI_CACHE_SUMS) != 0,
                            .tables = r->tables,
                            .levels = r->levels,
                            .unit = r->unit};
}

ql_status qli_cache_check(ql_packed_file *f, const uint8_t *key, ql_error *error)
{
  uint64_t head = 0;
  QLI_TRY(check_header(f, key, error));
  (void)head_size(f->header, &head);
  for (size_t i = 0; i < f->header->records; i++)
    QLI_TRY(check_record(f, i, head, error));
  return QL_STATUS_OK;
}
