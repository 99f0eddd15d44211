/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "checked.h"
#include "error.h"
#include "qmat.h"
#include "tensor_rows.h"

enum { TILE_ROWS = 16, CHUNK = 256 };

/* A target of this size is not kept by a cache until somebody reads it. */
#define STREAM_BYTES 0x1p24

/* s * level[c]: at most 48 bits, exact in f64. */
static void table_values(const ql_qmat_view *v, size_t r, size_t first, size_t n, double *dst)
{
  const uint8_t *codes = v->codes + r * v->cols + first;
  const float *levels = qli_qmat_levels(v, r);
  const float *scales = v->scales + r / v->block_rows * v->groups;
  for (size_t i = 0; i < n; i++)
    dst[i] = (double)scales[qli_qmat_group(v, first + i)] * (double)levels[codes[i]];
}

/* s * (c - z) of columns first .. first + n - 1. With an integer zero point the product has at most
 * 24 + 9 bits: exact in f64. */
static void grid_values(const ql_qmat_view *v, size_t r, size_t first, size_t n, double *dst)
{
  const uint8_t *codes = v->codes + r * v->cols + first;
  const size_t base = r / v->block_rows * v->groups;
  for (size_t i = 0; i < n;) {
    const size_t block = base + qli_qmat_group(v, first + i);
    const size_t rest = v->g_idx != NULL ? 1 : v->block_cols - (first + i) % v->block_cols;
    const size_t end = i + qli_min_size(rest, n - i);
    const double s = (double)v->scales[block];
    const double z = v->fzeros != NULL ? (double)v->fzeros[block] : (double)v->zeros[block];
    for (; i < end; i++)
      dst[i] = s * ((double)codes[i] - z);
  }
}

static void put_side_columns(const ql_qmat_view *v, size_t r, size_t first, size_t n, double *dst)
{
  const float *values = v->side_values + r * v->side_count;
  for (size_t j = 0; j < v->side_count; j++) {
    const size_t c = (size_t)v->side_cols[j];
    if (c < first || c - first >= n)
      continue;
    const double scale = v->side_scales != NULL ? (double)v->side_scales[j] : 1.0;
    dst[c - first] = scale * (double)values[j];
  }
}

static void add_low_rank(const ql_qmat_view *v, size_t r, size_t first, size_t n, double *dst)
{
  for (size_t k = 0; k < v->rank; k++) {
    const double b = (double)v->lora_b[r * v->rank + k];
    const float *a = v->lora_a + k * v->cols + first;
    for (size_t i = 0; i < n; i++)
      dst[i] += b * (double)a[i];
  }
}

/* The formula of ql_qmat_view for columns first .. first + n - 1. */
static void values(const ql_qmat_view *v, size_t r, size_t first, size_t n, double *dst)
{
  if (v->levels != NULL)
    table_values(v, r, first, n, dst);
  else
    grid_values(v, r, first, n, dst);
  if (v->side_count > 0)
    put_side_columns(v, r, first, n, dst);
  for (size_t i = 0; v->in_scale != NULL && i < n; i++)
    dst[i] *= (double)v->in_scale[first + i];
  add_low_rank(v, r, first, n, dst);
}

/* narrow: a further rounding to a 16-bit type follows. */
static void round_values(const double *src, size_t n, bool narrow, float *dst)
{
  for (size_t i = 0; i < n; i++)
    dst[i] = narrow ? qlk_round_to_odd(src[i]) : (float)src[i];
}

void qli_qmat_row_f32(const ql_qmat_view *v, size_t r, float *dst)
{
  double exact[CHUNK];
  for (size_t c = 0; c < v->cols; c += CHUNK) {
    const size_t n = qli_min_size(CHUNK, v->cols - c);
    values(v, r, c, n, exact);
    round_values(exact, n, false, dst + c);
  }
}

typedef struct {
  const ql_qmat_view *view;
  const ql_tensor *dst;
  void (*row)(const qlk_coded *row, int flags, void *dst); /* NULL: the formula, chunk by chunk */
  int flags;
  bool narrow; /* a product need not fit f32 and goes to 16 bits: products of 16-bit scales fit */
} job;

static unsigned char *element(const ql_tensor *t, size_t r, size_t c)
{
  return (unsigned char *)t->data + (ptrdiff_t)r * t->stride[0] + (ptrdiff_t)c * t->stride[1];
}

static void dequantize_row(const job *j, size_t r)
{
  const ql_qmat_view *v = j->view;
  double exact[CHUNK];
  float buffer[CHUNK];
  for (size_t c = 0; c < v->cols; c += CHUNK) {
    const size_t n = qli_min_size(CHUNK, v->cols - c);
    values(v, r, c, n, exact);
    round_values(exact, n, j->narrow, buffer);
    qli_row_from_f32(j->dst->dtype, buffer, n, element(j->dst, r, c), j->dst->stride[1]);
  }
}

static void dequantize_rows(void *arg, size_t tile, size_t worker)
{
  const job *j = arg;
  const ql_qmat_view *v = j->view;
  const size_t end = qli_min_size(v->rows, (tile + 1) * TILE_ROWS);
  (void)worker;
  for (size_t r = tile * TILE_ROWS; r < end; r++) {
    const size_t base = r / v->block_rows * v->groups;
    const qlk_coded row = {v->codes + r * v->cols,
                           v->cols,
                           v->block_cols,
                           v->scales + base,
                           v->zeros != NULL ? v->zeros + base : NULL,
                           v->fzeros != NULL ? v->fzeros + base : NULL};
    if (j->row != NULL)
      j->row(&row, j->flags, element(j->dst, r, 0));
    else
      dequantize_row(j, r);
  }
}

/* Kernels know codes, scales and zero points of either kind, and contiguous columns. */
static void choose_kernel(const ql_ctx *ctx, job *j)
{
  const qlk_exact *exact = &ctx->kernels.exact;
  const ql_qmat_view *v = j->view;
  const size_t size = ql_dtype_bits(j->dst->dtype) / 8;
  if ((qli_qmat_parts(v) & ~QL_PART_FLOAT_ZEROS) != 0 || v->g_idx != NULL ||
      j->dst->stride[1] != (ptrdiff_t)size)
    return;
  j->row = j->dst->dtype == QL_DTYPE_F32   ? exact->rows_f32
           : j->dst->dtype == QL_DTYPE_F16 ? exact->rows_f16
                                           : exact->rows_bf16;
  j->flags = j->narrow ? QLK_ODD : 0;
  if ((double)v->rows * (double)v->cols * (double)size >= STREAM_BYTES)
    j->flags |= QLK_STREAM;
}

ql_status ql_dequantize(const ql_ctx *ctx, const ql_qmat *q, const ql_tensor *dst, ql_error *error)
{
  if (ctx == NULL || q == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx or q is NULL");
  QLI_TRY(ql_tensor_check(dst, error));
  if (dst->rank != 2 || dst->shape[0] != q->view.rows || dst->shape[1] != q->view.cols)
    return qli_fail(error, QL_STATUS_SHAPE, "the destination is not a matrix of %zu x %zu",
                    q->view.rows, q->view.cols);
  if (dst->dtype != QL_DTYPE_F32 && dst->dtype != QL_DTYPE_F16 && dst->dtype != QL_DTYPE_BF16)
    return qli_fail(error, QL_STATUS_DTYPE, "no dequantization to %s: F32, F16 and BF16 are known",
                    ql_dtype_name(dst->dtype));
  const bool parts = qli_qmat_parts(&q->view) != 0;
  const bool narrow = dst->dtype != QL_DTYPE_F32 && (q->view.scale_dtype == QL_DTYPE_F32 || parts);
  job j = {.view = &q->view, .dst = dst, .narrow = narrow};
  choose_kernel(ctx, &j);
  qli_parallel_for(ctx, qli_ceil_div(q->view.rows, TILE_ROWS), dequantize_rows, &j);
  return QL_STATUS_OK;
}
