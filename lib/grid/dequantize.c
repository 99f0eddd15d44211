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

/* s * (c - z) of columns first .. first + n - 1. The product has at most 24 + 9 bits: exact in f64.
 * narrow: a further rounding to a 16-bit type follows. */
static void values(const ql_qmat_view *v, size_t r, size_t first, size_t n, int narrow, float *dst)
{
  const uint8_t *codes = v->codes + r * v->cols + first;
  const size_t base = r / v->block_rows * v->groups;
  for (size_t i = 0; i < n;) {
    const size_t block = base + qli_qmat_group(v, first + i);
    const size_t rest = v->g_idx != NULL ? 1 : v->block_cols - (first + i) % v->block_cols;
    const size_t end = i + qli_min_size(rest, n - i);
    const double s = (double)v->scales[block];
    const int z = v->zeros[block];
    for (; i < end; i++) {
      const double p = s * (double)((int)codes[i] - z);
      dst[i] = narrow ? round_to_odd(p) : (float)p;
    }
  }
}

void qli_qmat_row_f32(const ql_qmat_view *v, size_t r, float *dst)
{
  values(v, r, 0, v->cols, 0, dst);
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
  const int narrow = v->scale_dtype == QL_DTYPE_F32 && t->dtype != QL_DTYPE_F32;
  float buffer[CHUNK];
  (void)worker;
  for (size_t r = tile * TILE_ROWS; r < end; r++)
    for (size_t c = 0; c < v->cols; c += CHUNK) {
      const size_t n = qli_min_size(CHUNK, v->cols - c);
      values(v, r, c, n, narrow, buffer);
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
