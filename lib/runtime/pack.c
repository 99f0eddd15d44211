/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "packed_layout.h"

#include "checked.h"
#include "error.h"
#include "fpenv.h"
#include "pages.h"
#include "parts.h"
#include "qmat.h"

#include <quantlib/types.h>

#include <math.h>
#include <string.h>

_Static_assert((int)QLK_F32 == (int)QL_DTYPE_F32 && (int)QLK_F16 == (int)QL_DTYPE_F16 &&
                   (int)QLK_BF16 == (int)QL_DTYPE_BF16,
               "kernels and tensors number the element types alike");

/* Packing writes every byte of a section but those that round it up to 64: zero, so that equal
 * matrices are equal bytes. */
static void clear_ends(unsigned char *run, const qli_packed_sections *at)
{
  const size_t starts[] = {at->codes, at->scales,  at->zeros, at->fzeros, at->sums,
                           at->table, at->numbers, at->ends,  at->gather, at->total};
  for (size_t i = 1; i < sizeof starts / sizeof starts[0]; i++)
    if (starts[i] > starts[i - 1])
      memset(run + starts[i] - 64, 0, 64);
}

/* A matrix with everything but its contents: one block, the header before the sections. */
static ql_status create(const ql_ctx *ctx, const qli_packed_shape *s, ql_packed **out,
                        ql_error *error)
{
  const size_t before = (sizeof(ql_packed) + 63) / 64 * 64;
  qli_packed_sections at;
  size_t bytes;
  ql_packed head;
  memset(&head, 0, sizeof head);
  if (!qli_packed_lay_out(s, &ctx->kernels.gemm.unit[s->wtype], &at, &head) ||
      !qli_add_size(at.total, before, &bytes) || bytes > PTRDIFF_MAX)
    return qli_fail(error, QL_STATUS_OVERFLOW, "a matrix of %zu x %zu is too large to pack", s->n,
                    s->k);
  unsigned char *block = qli_alloc(ctx, 1, bytes);
  if (block == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to pack a matrix of %zu x %zu", s->n,
                    s->k);
  qli_pages_huge(block, bytes);
  clear_ends(block + before, &at);
  qli_packed_bind(ctx, s, &at, block + before, &head);
  head.bytes = bytes;
  memcpy(block, &head, sizeof head);
  *out = (ql_packed *)(void *)block;
  return QL_STATUS_OK;
}

/* Sections are written once, here, through the block that the header lies in. */
static unsigned char *writable(ql_packed *p, const void *section)
{
  return (unsigned char *)p + ((const unsigned char *)section - (const unsigned char *)p);
}

/* Levels of each table in the layout of qlk_gemm.h. */
static size_t table_size(const ql_qmat_view *v, qlk_wtype wtype)
{
  const size_t own = wtype == QLK_W2 ? 4 : wtype == QLK_W3 ? 8 : wtype == QLK_W4 ? 16 : 256;
  return v->level_sets == 1 && own < 16 ? 16 : own;
}

/* Packing of all panels. Each worker has room for nr rows of packed k elements, and for as many of
 * scales. */
typedef struct {
  ql_packed *packed;
  const qlk_gemm *kernels;
  const ql_qmat_view *view; /* quantized */
  const qli_pack_plan *plan;
  const ql_tensor *tensor;     /* or floating point */
  const unsigned char *direct; /* rows that lie as pack wants them, or NULL: they are gathered */
  size_t direct_stride;
  size_t row_bytes, worker_bytes;
  unsigned char *scratch;
  size_t first;                /* panel of the batch */
  const unsigned char *source; /* rows that are given back behind the panels, or NULL: kept */
  size_t source_stride;
} job;

static uint8_t least_level(const float *levels, int32_t bits)
{
  size_t least = 0;
  for (size_t code = 1; code < (size_t)1 << bits; code++)
    least = fabsf(levels[code]) < fabsf(levels[least]) ? code : least;
  return (uint8_t)least;
}

/* The code that stands for the least weight, for places that no column fills: activations are zero
 * there, but 0 * Inf must not come up. */
static uint8_t padding_code(const ql_qmat_view *v, size_t r, size_t block)
{
  if (v->levels != NULL)
    return least_level(qli_qmat_levels(v, r), v->bits);
  const float highest = (float)((1 << v->bits) - 1);
  const float zero = v->fzeros != NULL ? rintf(v->fzeros[block]) : (float)v->zeros[block];
  return (uint8_t)(zero < 0.0f ? 0.0f : zero < highest ? zero : highest);
}

static void gather_codes(const job *j, size_t r, unsigned char *row)
{
  const ql_qmat_view *v = j->view;
  const uint8_t *codes = v->codes + r * v->cols;
  const size_t base = r / v->block_rows * v->groups;
  size_t p = 0;
  for (size_t g = 0; g < v->groups; g++)
    for (; p < j->plan->ends[g]; p++) {
      const int32_t column = j->plan->gather[p];
      row[p] = column >= 0 ? codes[column] : padding_code(v, r, base + g);
    }
  const qli_packed_parts *parts = j->packed->parts;
  for (size_t i = 0; parts != NULL && i < parts->side_count; i++)
    row[parts->side_at[i]] =
        padding_code(v, r, base + qli_qmat_group(v, (size_t)parts->side_cols[i]));
}

static void gather_elements(const ql_tensor *t, size_t r, unsigned char *row)
{
  const size_t size = ql_dtype_bits(t->dtype) / 8;
  const unsigned char *from = (const unsigned char *)t->data + (ptrdiff_t)r * t->stride[0];
  if (t->stride[1] == (ptrdiff_t)size) {
    memcpy(row, from, t->shape[1] * size);
    return;
  }
  for (size_t c = 0; c < t->shape[1]; c++)
    memcpy(row + c * size, from + (ptrdiff_t)c * t->stride[1], size);
}

/* One row of scales, or of zero points, of each column of a panel, as [group][nr]. type: of what is
 * stored, I16 for values that are. */
static void write_cells(const job *j, size_t panel, const void *values, ql_dtype type,
                        unsigned char *scratch, unsigned char *to)
{
  const ql_qmat_view *v = j->view;
  const size_t nr = j->packed->nr, size = type == QL_DTYPE_F32 ? 4 : 2, bytes = v->groups * size;
  const qlk_exact *exact = &j->packed->ctx->kernels.exact;
  for (size_t i = 0; i < nr; i++) {
    const size_t r = panel * nr + i, base = r / v->block_rows * v->groups;
    unsigned char *row = scratch + i * bytes;
    if (r >= v->rows)
      memset(row, 0, bytes);
    else if (type == QL_DTYPE_F16)
      exact->f32_to_f16((const float *)values + base, v->groups, row);
    else if (type == QL_DTYPE_BF16)
      exact->f32_to_bf16((const float *)values + base, v->groups, row);
    else
      memcpy(row, (const unsigned char *)values + base * size, bytes);
  }
  const qlk_wtype as = size == 4 ? QLK_W_F32 : QLK_W_F16;
  j->kernels->unit[as].pack(scratch, bytes, nr, v->groups,
                            to + panel * j->packed->weights.scale_stride * size);
}

static void write_grid(const job *j, size_t panel, unsigned char *scratch)
{
  const qlk_weights *w = &j->packed->weights;
  const ql_qmat_view *v = j->view;
  write_cells(j, panel, v->scales, v->scale_dtype, scratch, writable(j->packed, w->scales));
  if (w->fzeros != NULL)
    write_cells(j, panel, v->fzeros, v->scale_dtype, scratch, writable(j->packed, w->fzeros));
  if (w->zeros != NULL)
    write_cells(j, panel, v->zeros, QL_DTYPE_I16, scratch, writable(j->packed, w->zeros));
}

/* The table of one column, or of all of them: its levels repeated until it is full, or zeros where
 * there is no row. */
static void write_levels(const job *j, size_t panel, size_t column, size_t r)
{
  const ql_qmat_view *v = j->view;
  const qlk_weights *w = &j->packed->weights;
  const size_t size = table_size(v, j->packed->wtype), count = (size_t)1 << v->bits;
  const size_t at = panel * w->table_stride + (w->table_stride != 0 ? column * size : 0);
  float *to = (float *)(void *)writable(j->packed, w->table + at);
  const bool used = v->level_sets == 1 || r < v->rows;
  for (size_t i = 0; i < size; i++)
    to[i] = used ? qli_qmat_levels(v, r)[i % count] : 0.0f;
}

/* row: the codes of matrix row r in packed order. */
static void write_sums(const job *j, size_t panel, size_t column, size_t r,
                       const unsigned char *row)
{
  const ql_qmat_view *v = j->view;
  const size_t base = r / v->block_rows * v->groups;
  for (size_t g = 0, p = 0; g < v->groups; g++) {
    const size_t end = r < v->rows ? j->plan->ends[g] : p;
    const uint32_t zero = r < v->rows ? (uint32_t)v->zeros[base + g] : 0;
    uint32_t sum = 0;
    if (j->plan->identity) {
      sum = j->packed->ctx->kernels.exact.sum(row + p, end - p) - (uint32_t)(end - p) * zero;
      p = end;
    }
    for (; p < end; p++)
      if (j->plan->gather[p] >= 0)
        sum += row[p] - zero;
    const int32_t stored = (int32_t)sum;
    const size_t at = panel * j->packed->weights.scale_stride + g * j->packed->nr + column;
    memcpy(writable(j->packed, j->packed->weights.sums + at), &stored, sizeof stored);
  }
}

/* Rows of a panel in packed order, zeros below the last. */
static void gather_rows(const job *j, size_t panel, unsigned char *rows)
{
  for (size_t i = 0; i < j->packed->nr; i++) {
    const size_t r = panel * j->packed->nr + i;
    unsigned char *row = rows + i * j->row_bytes;
    if (r >= j->packed->n)
      memset(row, 0, j->row_bytes);
    else if (j->view != NULL)
      gather_codes(j, r, row);
    else
      gather_elements(j->tensor, r, row);
  }
}

static void pack_panel(void *arg, size_t index, size_t worker)
{
  const job *j = arg;
  const qlk_weights *w = &j->packed->weights;
  const size_t nr = j->packed->nr, panel = j->first + index, row = panel * nr;
  unsigned char *scratch = j->scratch + worker * j->worker_bytes;
  const bool direct = j->direct != NULL && row + nr <= j->packed->n;
  const unsigned char *rows = direct ? j->direct + row * j->direct_stride : scratch;
  const size_t stride = direct ? j->direct_stride : j->row_bytes;
  if (!direct)
    gather_rows(j, panel, scratch);
  j->kernels->unit[j->packed->wtype].pack(rows, stride, nr, w->k,
                                          writable(j->packed, w->codes + panel * w->code_stride));
  for (size_t i = 0; j->packed->weights.sums != NULL && i < nr; i++)
    write_sums(j, panel, i, row + i, rows + i * stride);
  for (size_t i = 0; w->table_stride != 0 && i < nr; i++)
    write_levels(j, panel, i, row + i);
  if (j->view != NULL)
    write_grid(j, panel, scratch);
}

/* Whether rows lie in memory as pack wants them. */
static void find_direct(job *j, size_t element)
{
  const ql_tensor *t = j->tensor;
  const qli_packed_parts *parts = j->packed->parts;
  if (j->view != NULL && j->plan->identity && (parts == NULL || parts->side_count == 0)) {
    j->direct = j->view->codes;
    j->direct_stride = j->view->cols;
  }
  if (t != NULL && t->stride[1] == (ptrdiff_t)element && t->stride[0] >= 0) {
    j->direct = t->data;
    j->direct_stride = (size_t)t->stride[0];
  }
}

/* Bytes of the source between two returns of its pages. */
enum { RELEASE_BYTES = 4 << 20 };

static void pack_and_release(const ql_ctx *ctx, job *j)
{
  const size_t nr = j->packed->nr;
  const size_t panel_bytes = j->source_stride <= RELEASE_BYTES ? nr * j->source_stride : SIZE_MAX;
  const size_t step = qli_ceil_div(RELEASE_BYTES, panel_bytes);
  size_t released = 0;
  for (; j->first < j->packed->panels; j->first += step) {
    const size_t count = qli_min_size(step, j->packed->panels - j->first);
    qli_parallel_for(ctx, count, pack_panel, j);
    const size_t rows = qli_min_size((j->first + count) * nr, j->packed->n);
    qli_pages_discard(j->source + released, rows * j->source_stride - released);
    released = rows * j->source_stride;
  }
}

static ql_status pack_panels(const ql_ctx *ctx, job *j, size_t element, ql_error *error)
{
  ql_packed *p = j->packed;
  size_t bytes, cells;
  j->kernels = &ctx->kernels.gemm;
  if (!qli_mul_size(p->weights.k, element, &j->row_bytes) ||
      !qli_mul_size(j->row_bytes, p->nr, &bytes) ||
      !qli_mul_size(p->weights.groups, p->nr * sizeof(float), &cells))
    return qli_fail(error, QL_STATUS_OVERFLOW, "%zu columns are too many to pack", p->k);
  j->worker_bytes = bytes > cells ? bytes : cells;
  j->scratch = qli_alloc(ctx, ctx->executor.max_workers, j->worker_bytes);
  if (j->scratch == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to pack a matrix of %zu x %zu", p->n,
                    p->k);
  find_direct(j, element);
  if (j->source != NULL && j->source_stride != 0)
    pack_and_release(ctx, j);
  else
    qli_parallel_for(ctx, p->panels, pack_panel, j);
  qli_free(ctx, j->scratch);
  return QL_STATUS_OK;
}

/* A part that is not among these has no place in the product. */
enum {
  KNOWN_PARTS = QL_PART_FLOAT_ZEROS | QL_PART_IN_SCALE | QL_PART_SIDE_COLUMNS | QL_PART_LOW_RANK |
                QL_PART_TABLE
};

static qlk_wtype format_of(int32_t bits)
{
  return bits <= 2 ? QLK_W2 : bits == 3 ? QLK_W3 : bits == 4 ? QLK_W4 : QLK_W8;
}

/* Whether every level is a whole number from -128 to 127 times unit. */
static bool are_numbers(const float *levels, float unit)
{
  for (size_t i = 0; i < QLI_PACKED_NUMBERS; i++) {
    const float n = levels[i] / unit;
    if (n != rintf(n) || n < -128.0f || n > 127.0f)
      return false;
  }
  return true;
}

/* qlk_weights.unit for one table of 4 bits: the least that leaves the numbers in range, and so
 * finds them if any power of two does; 0 where there is none. */
static float unit_of(const ql_qmat_view *v, qlk_wtype wtype)
{
  float most = 0.0f;
  int exponent;
  if (v->level_sets != 1 || wtype != QLK_W4)
    return 0.0f;
  for (size_t i = 0; i < QLI_PACKED_NUMBERS; i++)
    most = fabsf(v->levels[i]) > most ? fabsf(v->levels[i]) : most;
  (void)frexpf(most, &exponent); /* most < 2^exponent */
  if (most == 0.0f || exponent < -100)
    return 0.0f;
  const float unit = ldexpf(1.0f, exponent - 7);
  if (are_numbers(v->levels, 0.5f * unit)) /* -128 alone of that magnitude */
    return 0.5f * unit;
  return are_numbers(v->levels, unit) ? unit : 0.0f;
}

/* The zero point that the format of these codes implies. */
static bool implied_zeros(const ql_qmat_view *v, qlk_wtype wtype)
{
  const int32_t implied = wtype == QLK_W8 ? 128 : wtype == QLK_W2 ? 2 : 1 << (v->bits - 1);
  const size_t n = qli_ceil_div(v->rows, v->block_rows) * v->groups;
  for (size_t i = 0; i < n; i++)
    if (v->zeros[i] != implied)
      return false;
  return true;
}

static ql_status pack_planned(const ql_ctx *ctx, const ql_qmat_view *v, const qli_pack_plan *plan,
                              bool take, ql_packed **out, ql_error *error)
{
  const qlk_wtype wtype = format_of(v->bits);
  const qli_packed_shape shape = {wtype,
                                  v->rows,
                                  v->cols,
                                  plan->k,
                                  plan->groups,
                                  v->scale_dtype,
                                  v->zeros != NULL && !implied_zeros(v, wtype),
                                  v->fzeros != NULL,
                                  !plan->identity,
                                  wtype == QLK_W8 && v->zeros != NULL,
                                  v->level_sets,
                                  table_size(v, wtype),
                                  unit_of(v, wtype)};
  ql_packed *p = NULL;
  QLI_TRY(create(ctx, &shape, &p, error));
  p->bits = v->bits;
  p->group = v->block_cols;
  p->permuted = plan->permuted;
  if (plan->groups > 0)
    memcpy(writable(p, p->weights.ends), plan->ends, plan->groups * sizeof *plan->ends);
  if (p->gather != NULL)
    memcpy(writable(p, p->gather), plan->gather, plan->k * sizeof *plan->gather);
  job j = {.packed = p, .view = v, .plan = plan};
  if (p->weights.table != NULL && p->weights.table_stride == 0)
    write_levels(&j, 0, 0, 0);
  for (size_t i = 0; p->weights.numbers != NULL && i < QLI_PACKED_NUMBERS; i++)
    *writable(p, p->weights.numbers + i) = (unsigned char)(v->levels[i] / p->weights.unit + 128.0f);
  j.source = take ? v->codes : NULL;
  j.source_stride = v->cols;
  ql_status status = qli_parts_pack(ctx, v, plan, &p->parts, error);
  if (status == QL_STATUS_OK)
    status = pack_panels(ctx, &j, 1, error);
  if (status != QL_STATUS_OK)
    ql_packed_destroy(p);
  else
    *out = p;
  return status;
}

static ql_status pack_view(const ql_ctx *ctx, const ql_qmat_view *view, bool take, ql_packed **out,
                           ql_error *error)
{
  const qlk_gemm_unit *unit = &ctx->kernels.gemm.unit[format_of(view->bits)];
  qli_pack_plan plan;
  QLI_TRY(qli_pack_plan_make(ctx, view, unit->kr, &plan, error));
  const ql_status status = pack_planned(ctx, view, &plan, take, out, error);
  qli_pack_plan_free(ctx, &plan);
  return status;
}

ql_status qli_pack_view(const ql_ctx *ctx, const ql_qmat_view *view, ql_packed **out,
                        ql_error *error)
{
  return pack_view(ctx, view, false, out, error);
}

static ql_status pack_matrix(const ql_ctx *ctx, const ql_qmat *q, bool take, ql_packed **out,
                             ql_error *error)
{
  ql_qmat_view view;
  if (ctx == NULL || q == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, q or out is NULL");
  memset(&view, 0, sizeof view);
  view.struct_size = sizeof view;
  QLI_TRY(ql_qmat_get(q, &view));
  QLI_TRY(qli_qmat_refuse(&view, KNOWN_PARTS, "ql_pack", error));
  const qli_fpenv saved = qli_fpenv_enter();
  const ql_status status = pack_view(ctx, &view, take, out, error);
  qli_fpenv_leave(saved);
  return status;
}

ql_status ql_pack(const ql_ctx *ctx, const ql_qmat *q, ql_packed **out, ql_error *error)
{
  return pack_matrix(ctx, q, false, out, error);
}

ql_status ql_pack_take(const ql_ctx *ctx, ql_qmat *q, ql_packed **out, ql_error *error)
{
  const ql_status status = pack_matrix(ctx, q, true, out, error);
  ql_qmat_destroy(q);
  return status;
}

static ql_status pack_float(const ql_ctx *ctx, const ql_tensor *w, bool take, ql_packed **out,
                            ql_error *error)
{
  if (ctx == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx or out is NULL");
  QLI_TRY(ql_tensor_check(w, error));
  if (w->rank != 2)
    return qli_fail(error, QL_STATUS_SHAPE, "weights have rank %d, not 2", (int)w->rank);
  if (w->dtype != QL_DTYPE_F32 && w->dtype != QL_DTYPE_F16 && w->dtype != QL_DTYPE_BF16)
    return qli_fail(error, QL_STATUS_DTYPE, "weights of type %s: F32, F16 and BF16 are known",
                    ql_dtype_name(w->dtype));
  const qlk_wtype wtype = w->dtype == QL_DTYPE_F32   ? QLK_W_F32
                          : w->dtype == QL_DTYPE_F16 ? QLK_W_F16
                                                     : QLK_W_BF16;
  const qli_packed_shape shape = {.wtype = wtype,
                                  .n = w->shape[0],
                                  .k = w->shape[1],
                                  .packed_k = w->shape[1],
                                  .scale_type = QL_DTYPE_F32};
  ql_packed *p = NULL;
  QLI_TRY(create(ctx, &shape, &p, error));
  p->dtype = w->dtype;
  p->bits = (int32_t)ql_dtype_bits(w->dtype);
  job j = {.packed = p, .tensor = w};
  if (take && w->stride[0] > 0 && w->stride[1] > 0) {
    j.source = w->data;
    j.source_stride = (size_t)w->stride[0];
  }
  const ql_status status = pack_panels(ctx, &j, ql_dtype_bits(w->dtype) / 8, error);
  if (status != QL_STATUS_OK)
    ql_packed_destroy(p);
  else
    *out = p;
  return status;
}

ql_status ql_pack_float(const ql_ctx *ctx, const ql_tensor *w, ql_packed **out, ql_error *error)
{
  return pack_float(ctx, w, false, out, error);
}

ql_status ql_pack_float_take(const ql_ctx *ctx, const ql_tensor *w, ql_packed **out,
                             ql_error *error)
{
  return pack_float(ctx, w, true, out, error);
}

void ql_packed_destroy(ql_packed *packed)
{
  if (packed == NULL)
    return;
  qli_parts_free(packed->ctx, packed->parts);
  qli_free(packed->ctx, packed);
}

ql_status ql_packed_get(const ql_packed *packed, ql_packed_info *info)
{
  if (packed == NULL || info == NULL || info->struct_size < sizeof *info)
    return QL_STATUS_INVALID_ARGUMENT;
  info->n = packed->n;
  info->k = packed->k;
  info->bits = packed->bits;
  info->dtype = packed->dtype;
  info->group = packed->group;
  info->bytes = packed->bytes + qli_parts_bytes(packed->parts, packed->weights.k);
  info->layout = packed->layout;
  info->permuted = packed->permuted;
  return QL_STATUS_OK;
}
