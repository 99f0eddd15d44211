/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qmat.h"

#include "checked.h"
#include "error.h"
#include "half.h"
#include "scale.h"

#include <math.h>
#include <string.h>

static ql_status check_header(const ql_qmat_view *v, ql_error *error)
{
  size_t cells;
  if (v->bits < 2 || v->bits > 8)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "%d bits: 2 to 8 are known", (int)v->bits);
  if (v->kind < QL_GRID_ASYM || v->kind > QL_GRID_SYM_SIGNED)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "unknown grid kind %d", (int)v->kind);
  if (!qli_is_scale_dtype(v->scale_dtype))
    return qli_fail(error, QL_STATUS_DTYPE, "scales of type %s: F16, BF16 and F32 are known",
                    ql_dtype_name(v->scale_dtype));
  if (v->reserved != 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "a reserved member is not zero");
  if (v->block_rows == 0 || v->block_cols == 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "a block of %zu x %zu: the sizes of a matrix are resolved, never 0",
                    v->block_rows, v->block_cols);
  if (!qli_mul_size(v->rows, v->cols, &cells) || cells > PTRDIFF_MAX / sizeof(double) ||
      v->cols > INT32_MAX)
    return qli_fail(error, QL_STATUS_OVERFLOW, "a matrix of %zu x %zu is too large", v->rows,
                    v->cols);
  return QL_STATUS_OK;
}

static ql_status check_groups(const ql_qmat_view *v, ql_error *error)
{
  const size_t natural = qli_ceil_div(v->cols, v->block_cols);
  size_t blocks;
  if (v->g_idx == NULL && v->groups != natural)
    return qli_fail(error, QL_STATUS_SHAPE,
                    "%zu groups given, %zu columns in groups of %zu have %zu", v->groups, v->cols,
                    v->block_cols, natural);
  if (v->g_idx != NULL && (v->groups == 0) != (v->cols == 0))
    return qli_fail(error, QL_STATUS_SHAPE, "%zu groups for %zu columns", v->groups, v->cols);
  if (v->groups > INT32_MAX ||
      !qli_mul_size(qli_ceil_div(v->rows, v->block_rows), v->groups, &blocks) ||
      blocks > PTRDIFF_MAX / sizeof(float))
    return qli_fail(error, QL_STATUS_OVERFLOW, "%zu groups are too many", v->groups);
  return QL_STATUS_OK;
}

/* Blocks of scales, no overflow after check_groups. */
static size_t block_count(const ql_qmat_view *v)
{
  return qli_ceil_div(v->rows, v->block_rows) * v->groups;
}

static ql_status check_codes(const ql_qmat_view *v, ql_error *error)
{
  const unsigned int highest = (1u << v->bits) - 1u;
  const size_t n = v->rows * v->cols;
  for (size_t i = 0; i < n; i++)
    if (v->codes[i] > highest) {
      qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "code %u at row %zu, column %zu exceeds %u",
               (unsigned)v->codes[i], i / v->cols, i % v->cols, highest);
      qli_error_at(error, (int64_t)(i / v->cols), (int64_t)(i % v->cols));
      return QL_STATUS_INVALID_ARGUMENT;
    }
  return QL_STATUS_OK;
}

static ql_status check_one_scale(const ql_qmat_view *v, float s, ql_error *error)
{
  if (!isfinite(s))
    return qli_fail(error, QL_STATUS_NUMERIC, "a scale is not finite");
  if (qli_round_scale(v->scale_dtype, s) != s)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the scale %a is not a value of type %s",
                    (double)s, ql_dtype_name(v->scale_dtype));
  return QL_STATUS_OK;
}

static ql_status check_one_zero(const ql_qmat_view *v, int32_t z, ql_error *error)
{
  if (z < 0 || z > 1 << v->bits)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the zero point %d is not in 0..%d", (int)z,
                    1 << v->bits);
  if (v->kind != QL_GRID_ASYM && z != 1 << (v->bits - 1))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the zero point of a symmetric grid of %d bits is %d, not %d", (int)v->bits,
                    1 << (v->bits - 1), (int)z);
  return QL_STATUS_OK;
}

static ql_status check_blocks(const ql_qmat_view *v, ql_error *error)
{
  const size_t n = block_count(v);
  for (size_t i = 0; i < n; i++) {
    ql_status status = check_one_scale(v, v->scales[i], error);
    if (status == QL_STATUS_OK && v->zeros != NULL)
      status = check_one_zero(v, v->zeros[i], error);
    if (status != QL_STATUS_OK) {
      qli_error_at(error, (int64_t)(i / v->groups), (int64_t)(i % v->groups));
      qli_error_hint(error, "the position is the block of scales: block row %zu, group %zu",
                     i / v->groups, i % v->groups);
      return status;
    }
  }
  return QL_STATUS_OK;
}

static ql_status check_g_idx(const ql_qmat_view *v, ql_error *error)
{
  for (size_t c = 0; v->g_idx != NULL && c < v->cols; c++)
    if (v->g_idx[c] < 0 || (size_t)v->g_idx[c] >= v->groups) {
      qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "g_idx[%zu] is %d, there are %zu groups", c,
               (int)v->g_idx[c], v->groups);
      qli_error_at(error, -1, (int64_t)c);
      return QL_STATUS_INVALID_ARGUMENT;
    }
  return QL_STATUS_OK;
}

static ql_status check_perm(const ql_ctx *ctx, const ql_qmat_view *v, ql_error *error)
{
  if (v->perm == NULL)
    return QL_STATUS_OK;
  unsigned char *seen = qli_calloc(ctx, v->cols, 1);
  if (seen == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to check a permutation");
  ql_status status = QL_STATUS_OK;
  for (size_t i = 0; i < v->cols && status == QL_STATUS_OK; i++) {
    const int32_t c = v->perm[i];
    if (c < 0 || (size_t)c >= v->cols || seen[c]) {
      status = qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "perm[%zu] = %d: not a permutation", i,
                        (int)c);
      qli_error_at(error, -1, (int64_t)i);
    } else {
      seen[c] = 1;
    }
  }
  qli_free(ctx, seen);
  return status;
}

static ql_status check_arrays(const ql_qmat_view *v, ql_error *error)
{
  if (v->rows * v->cols != 0 && v->codes == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the codes are NULL");
  if (block_count(v) != 0 && v->scales == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the scales are NULL");
  if (block_count(v) != 0 && v->zeros == NULL && v->kind == QL_GRID_ASYM)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the zero points are NULL: only a symmetric grid implies them");
  return QL_STATUS_OK;
}

ql_status qli_qmat_new(const ql_ctx *ctx, const ql_qmat_view *shape, ql_qmat **out, ql_error *error)
{
  QLI_TRY(check_header(shape, error));
  QLI_TRY(check_groups(shape, error));
  const size_t blocks = block_count(shape);
  ql_qmat *q = qli_calloc(ctx, 1, sizeof *q);
  if (q != NULL) {
    q->ctx = ctx;
    q->codes = qli_alloc(ctx, shape->rows * shape->cols, sizeof *q->codes);
    q->scales = qli_alloc(ctx, blocks, sizeof *q->scales);
    q->zeros = qli_alloc(ctx, blocks, sizeof *q->zeros);
    if (shape->g_idx != NULL)
      q->g_idx = qli_alloc(ctx, shape->cols, sizeof *q->g_idx);
    if (shape->perm != NULL)
      q->perm = qli_alloc(ctx, shape->cols, sizeof *q->perm);
  }
  if (q == NULL || q->codes == NULL || q->scales == NULL || q->zeros == NULL ||
      (shape->g_idx != NULL && q->g_idx == NULL) || (shape->perm != NULL && q->perm == NULL)) {
    ql_qmat_destroy(q);
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a quantized matrix of %zu x %zu",
                    shape->rows, shape->cols);
  }
  q->view = *shape;
  q->view.struct_size = sizeof q->view;
  q->view.codes = q->codes;
  q->view.scales = q->scales;
  q->view.zeros = q->zeros;
  q->view.g_idx = q->g_idx;
  q->view.perm = q->perm;
  *out = q;
  return QL_STATUS_OK;
}

static void copy_bytes(void *dst, const void *src, size_t bytes)
{
  if (bytes != 0)
    memcpy(dst, src, bytes);
}

static void fill(ql_qmat *q, const ql_qmat_view *v)
{
  const size_t blocks = block_count(v);
  copy_bytes(q->codes, v->codes, v->rows * v->cols);
  copy_bytes(q->scales, v->scales, blocks * sizeof *v->scales);
  if (v->zeros != NULL)
    copy_bytes(q->zeros, v->zeros, blocks * sizeof *v->zeros);
  for (size_t i = 0; v->zeros == NULL && i < blocks; i++)
    q->zeros[i] = (int16_t)(1 << (v->bits - 1));
  if (v->g_idx != NULL)
    copy_bytes(q->g_idx, v->g_idx, v->cols * sizeof *v->g_idx);
  if (v->perm != NULL)
    copy_bytes(q->perm, v->perm, v->cols * sizeof *v->perm);
}

ql_status ql_qmat_create(const ql_ctx *ctx, const ql_qmat_view *view, ql_qmat **out,
                         ql_error *error)
{
  ql_qmat_view v;
  if (ctx == NULL || view == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, view or out is NULL");
  memset(&v, 0, sizeof v);
  if (!qli_config_copy(&v, sizeof v, sizeof v, view))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "ql_qmat_view.struct_size is %zu, %zu expected", view->struct_size, sizeof v);
  QLI_TRY(check_header(&v, error));
  QLI_TRY(check_groups(&v, error));
  QLI_TRY(check_arrays(&v, error));
  QLI_TRY(check_codes(&v, error));
  QLI_TRY(check_blocks(&v, error));
  QLI_TRY(check_g_idx(&v, error));
  QLI_TRY(check_perm(ctx, &v, error));
  ql_qmat *q = NULL;
  QLI_TRY(qli_qmat_new(ctx, &v, &q, error));
  fill(q, &v);
  *out = q;
  return QL_STATUS_OK;
}

void ql_qmat_destroy(ql_qmat *q)
{
  if (q == NULL)
    return;
  qli_free(q->ctx, q->codes);
  qli_free(q->ctx, q->scales);
  qli_free(q->ctx, q->zeros);
  qli_free(q->ctx, q->g_idx);
  qli_free(q->ctx, q->perm);
  qli_free(q->ctx, q);
}

ql_status ql_qmat_get(const ql_qmat *q, ql_qmat_view *view)
{
  if (q == NULL || view == NULL || view->struct_size < sizeof q->view)
    return QL_STATUS_INVALID_ARGUMENT;
  const size_t size = view->struct_size;
  *view = q->view;
  view->struct_size = size;
  return QL_STATUS_OK;
}

uint64_t ql_qmat_bits(const ql_qmat *q)
{
  if (q == NULL)
    return 0;
  const ql_qmat_view *v = &q->view;
  const uint64_t per_block = ql_dtype_bits(v->scale_dtype) + (uint32_t)v->bits;
  return (uint64_t)v->rows * v->cols * (uint32_t)v->bits + (uint64_t)block_count(v) * per_block;
}
