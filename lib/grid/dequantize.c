/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "checked.h"
#include "error.h"
#include "half.h"
#include "qmat.h"
#include "tensor_rows.h"

#include <math.h>

enum { TILE_ROWS = 16, CHUNK = 256 };

/* The f32 next to the exact p that keeps "not exact" in its last bit, so that rounding it further
 * to f16 or bf16 gives what rounding p at once would: round to odd (Boldo, Melquiond 2008). */
static float round_to_odd(double p)
{
  const float f = (float)p;
  if ((double)f == p || !isfinite(f))
    return f;
  const uint32_t bits = qli_bits_from_f32(f);
  const uint32_t towards_zero = fabs((double)f) > fabs(p) ? bits - 1u : bits;
  return qli_f32_from_bits(towards_zero | 1u);
}

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
    dst[i] = narrow ? round_to_odd(src[i]) : (float)src[i];
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
} job;

static void dequantize_rows(void *arg, size_t tile, size_t worker)
{
  const job *j = arg;
  const ql_qmat_view *v = j->view;
  const ql_tensor *t = j->dst;
  const size_t end = qli_min_size(v->rows, (tile + 1) * TILE_ROWS);
  /* Products of 16-bit scales are exact in f32 already. */
  const bool narrow =
      t->dtype != QL_DTYPE_F32 && (v->scale_dtype == QL_DTYPE_F32 || qli_qmat_parts(v) != 0);
  double exact[CHUNK];
  float buffer[CHUNK];
  (void)worker;
  for (size_t r = tile * TILE_ROWS; r < end; r++)
    for (size_t c = 0; c < v->cols; c += CHUNK) {
      const size_t n = qli_min_size(CHUNK, v->cols - c);
      values(v, r, c, n, exact);
      round_values(exact, n, narrow, buffer);
      qli_row_from_f32(t->dtype, buffer, n,
                       (unsigned char *)t->data + (ptrdiff_t)r * t->stride[0] +
                           (ptrdiff_t)c * t->stride[1],
                       t->stride[1]);
    }
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
  job j = {&q->view, dst};
  qli_parallel_for(ctx, qli_ceil_div(q->view.rows, TILE_ROWS), dequantize_rows, &j);
  return QL_STATUS_OK;
}
