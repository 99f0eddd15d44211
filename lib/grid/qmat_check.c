/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qmat.h"

#include "checked.h"
#include "error.h"
#include "half.h"
#include "scale.h"

#include <math.h>

static ql_status check_kind(const ql_qmat_view *v, ql_error *error)
{
  if (v->bits < 1 || v->bits > 8)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "%d bits: 1 to 8 are known", (int)v->bits);
  if (v->kind < QL_GRID_ASYM || v->kind > QL_GRID_TABLE)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "unknown grid kind %d", (int)v->kind);
  if (v->kind == QL_GRID_TERNARY && v->bits != 2)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "a ternary grid of %d bits: it has 2",
                    (int)v->bits);
  return QL_STATUS_OK;
}

/* rows x cols elements, as doubles, fit the address space. */
static bool fits(size_t rows, size_t cols)
{
  size_t cells;
  return qli_mul_size(rows, cols, &cells) && cells <= PTRDIFF_MAX / sizeof(double);
}

static ql_status check_groups(const ql_qmat_view *v, ql_error *error)
{
  const size_t natural = qli_ceil_div(v->cols, v->block_cols);
  if (v->g_idx == NULL && v->groups != natural)
    return qli_fail(error, QL_STATUS_SHAPE,
                    "%zu groups given, %zu columns in groups of %zu have %zu", v->groups, v->cols,
                    v->block_cols, natural);
  if (v->g_idx != NULL && (v->groups == 0) != (v->cols == 0))
    return qli_fail(error, QL_STATUS_SHAPE, "%zu groups for %zu columns", v->groups, v->cols);
  if (v->groups > INT32_MAX || !fits(qli_ceil_div(v->rows, v->block_rows), v->groups))
    return qli_fail(error, QL_STATUS_OVERFLOW, "%zu groups are too many", v->groups);
  return QL_STATUS_OK;
}

static ql_status check_part_sizes(const ql_qmat_view *v, ql_error *error)
{
  if (v->side_count > v->cols)
    return qli_fail(error, QL_STATUS_SHAPE, "%zu side columns of a matrix with %zu columns",
                    v->side_count, v->cols);
  if (v->rank > INT32_MAX || !fits(v->rank, v->cols) || !fits(v->rank, v->rows))
    return qli_fail(error, QL_STATUS_OVERFLOW, "a low-rank term of rank %zu is too large", v->rank);
  return QL_STATUS_OK;
}

static ql_status check_level_sets(const ql_qmat_view *v, ql_error *error)
{
  const bool table = v->kind == QL_GRID_TABLE;
  if (!table && (v->level_sets != 0 || v->levels != NULL))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "levels on a grid of kind %d, not QL_GRID_TABLE", (int)v->kind);
  if (table && v->level_sets != 1 && v->level_sets != v->rows)
    return qli_fail(error, QL_STATUS_SHAPE, "%zu tables for %zu rows: one for all or one for each",
                    v->level_sets, v->rows);
  if (!fits(v->level_sets, (size_t)1 << v->bits))
    return qli_fail(error, QL_STATUS_OVERFLOW, "%zu tables of levels are too many", v->level_sets);
  return QL_STATUS_OK;
}

ql_status qli_qmat_check_header(const ql_qmat_view *v, ql_error *error)
{
  QLI_TRY(check_kind(v, error));
  if (!qli_is_scale_dtype(v->scale_dtype))
    return qli_fail(error, QL_STATUS_DTYPE, "scales of type %s: F16, BF16 and F32 are known",
                    ql_dtype_name(v->scale_dtype));
  if (v->reserved != 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "a reserved member is not zero");
  if (v->block_rows == 0 || v->block_cols == 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "a block of %zu x %zu: the sizes of a matrix are resolved, never 0",
                    v->block_rows, v->block_cols);
  if (!fits(v->rows, v->cols) || v->cols > INT32_MAX)
    return qli_fail(error, QL_STATUS_OVERFLOW, "a matrix of %zu x %zu is too large", v->rows,
                    v->cols);
  QLI_TRY(check_level_sets(v, error));
  QLI_TRY(check_groups(v, error));
  return check_part_sizes(v, error);
}

static ql_status check_codes(const ql_qmat_view *v, ql_error *error)
{
  const unsigned int highest = v->kind == QL_GRID_TERNARY ? 2u : (1u << v->bits) - 1u;
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

/* what: "scale", "value of lora_a", ... */
static ql_status check_stored(ql_dtype dtype, float x, const char *what, ql_error *error)
{
  if (!isfinite(x))
    return qli_fail(error, QL_STATUS_NUMERIC, "a %s is not finite", what);
  if (qli_round_scale(dtype, x) != x)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the %s %a is not a value of type %s", what,
                    (double)x, ql_dtype_name(dtype));
  return QL_STATUS_OK;
}

static ql_status check_one_zero(const ql_qmat_view *v, int32_t z, ql_error *error)
{
  const int32_t implied = qli_implied_zero(v->kind, v->bits);
  if (z < 0 || z > 1 << v->bits)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the zero point %d is not in 0..%d", (int)z,
                    1 << v->bits);
  if (v->kind != QL_GRID_ASYM && z != implied)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the zero point of a symmetric grid of %d bits is %d, not %d", (int)v->bits,
                    (int)implied, (int)z);
  return QL_STATUS_OK;
}

static ql_status check_blocks(const ql_qmat_view *v, ql_error *error)
{
  const size_t n = qli_qmat_blocks(v);
  for (size_t i = 0; i < n; i++) {
    ql_status status = check_stored(v->scale_dtype, v->scales[i], "scale", error);
    if (status == QL_STATUS_OK && v->zeros != NULL)
      status = check_one_zero(v, v->zeros[i], error);
    if (status == QL_STATUS_OK && v->fzeros != NULL)
      status = check_stored(v->scale_dtype, v->fzeros[i], "zero point", error);
    if (status != QL_STATUS_OK) {
      qli_error_at(error, (int64_t)(i / v->groups), (int64_t)(i % v->groups));
      qli_error_hint(error, "the position is the block of scales: block row %zu, group %zu",
                     i / v->groups, i % v->groups);
      return status;
    }
  }
  return QL_STATUS_OK;
}

static ql_status check_levels(const ql_qmat_view *v, ql_error *error)
{
  const size_t n = v->level_sets << v->bits;
  for (size_t i = 0; i < n; i++)
    if (!isfinite(v->levels[i])) {
      qli_fail(error, QL_STATUS_NUMERIC, "level %zu of table %zu is not finite",
               i & (((size_t)1 << v->bits) - 1), i >> v->bits);
      qli_error_at(error, (int64_t)(i >> v->bits), -1);
      return QL_STATUS_NUMERIC;
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

static ql_status check_zero_arrays(const ql_qmat_view *v, ql_error *error)
{
  const bool blocks = qli_qmat_blocks(v) != 0, floats = v->kind == QL_GRID_FLOAT_ZERO;
  if (!qli_has_zeros(v->kind) && v->zeros != NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    floats ? "a grid with float zero points has integer ones too"
                           : "a table of levels has no zero points, but some are given");
  if (!floats && v->fzeros != NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "float zero points on a grid of kind %d, not QL_GRID_FLOAT_ZERO", (int)v->kind);
  if (blocks && ((v->kind == QL_GRID_ASYM && v->zeros == NULL) || (floats && v->fzeros == NULL)))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the zero points are NULL: only a symmetric grid implies them");
  return QL_STATUS_OK;
}

static ql_status check_arrays(const ql_qmat_view *v, ql_error *error)
{
  if (v->rows * v->cols != 0 && v->codes == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the codes are NULL");
  if (qli_qmat_blocks(v) != 0 && v->scales == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the scales are NULL");
  if (v->level_sets != 0 && v->levels == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the levels are NULL");
  return check_zero_arrays(v, error);
}

static ql_status check_in_scale(const ql_qmat_view *v, ql_error *error)
{
  for (size_t c = 0; v->in_scale != NULL && c < v->cols; c++)
    if (!isfinite(v->in_scale[c]) || v->in_scale[c] == 0.0f) {
      qli_fail(error, QL_STATUS_NUMERIC, "in_scale[%zu] is %g: it must be finite and not 0", c,
               (double)v->in_scale[c]);
      qli_error_at(error, -1, (int64_t)c);
      return QL_STATUS_NUMERIC;
    }
  return QL_STATUS_OK;
}

static ql_status check_side_header(const ql_qmat_view *v, ql_error *error)
{
  const bool i8 = v->side_dtype == QL_DTYPE_I8;
  if (v->side_count == 0) {
    if (v->side_cols != NULL || v->side_values != NULL || v->side_scales != NULL ||
        v->side_dtype != QL_DTYPE_NONE)
      return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                      "there are members of side columns, but their number is 0");
    return QL_STATUS_OK;
  }
  if (!i8 && v->side_dtype != QL_DTYPE_F16)
    return qli_fail(error, QL_STATUS_DTYPE, "side columns of type %s: F16 and I8 are known",
                    ql_dtype_name(v->side_dtype));
  if (v->side_cols == NULL || (v->rows != 0 && v->side_values == NULL))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the indices or the values of the side columns are NULL");
  if (i8 != (v->side_scales != NULL))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "side columns of type %s %s scales",
                    ql_dtype_name(v->side_dtype), i8 ? "need" : "have no");
  return QL_STATUS_OK;
}

static ql_status check_side_cols(const ql_qmat_view *v, ql_error *error)
{
  int64_t last = -1;
  for (size_t j = 0; j < v->side_count; j++) {
    const int64_t c = v->side_cols[j];
    if (c <= last || (size_t)c >= v->cols)
      return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                      "side_cols[%zu] is %lld: they ascend and are below %zu", j, (long long)c,
                      v->cols);
    if (v->side_scales != NULL && !isfinite(v->side_scales[j]))
      return qli_fail(error, QL_STATUS_NUMERIC, "side_scales[%zu] is not finite", j);
    last = c;
  }
  return QL_STATUS_OK;
}

static ql_status check_side_value(ql_dtype dtype, float x, ql_error *error)
{
  if (dtype == QL_DTYPE_F16)
    return check_stored(dtype, x, "side value", error);
  if (!(fabsf(x) <= 127.0f) || rintf(x) != x)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "the side value %g is not a whole number from -127 to 127", (double)x);
  return QL_STATUS_OK;
}

static ql_status check_side(const ql_qmat_view *v, ql_error *error)
{
  QLI_TRY(check_side_header(v, error));
  QLI_TRY(check_side_cols(v, error));
  const size_t n = v->rows * v->side_count;
  for (size_t i = 0; i < n; i++) {
    const ql_status status = check_side_value(v->side_dtype, v->side_values[i], error);
    if (status != QL_STATUS_OK) {
      qli_error_at(error, (int64_t)(i / v->side_count), v->side_cols[i % v->side_count]);
      return status;
    }
  }
  return QL_STATUS_OK;
}

static ql_status check_factor(const ql_qmat_view *v, const float *x, size_t rows, size_t cols,
                              const char *what, ql_error *error)
{
  for (size_t i = 0; i < rows * cols; i++) {
    const ql_status status = check_stored(v->lora_dtype, x[i], what, error);
    if (status != QL_STATUS_OK) {
      qli_error_at(error, (int64_t)(i / cols), (int64_t)(i % cols));
      return status;
    }
  }
  return QL_STATUS_OK;
}

static ql_status check_low_rank(const ql_qmat_view *v, ql_error *error)
{
  if (v->rank == 0) {
    if (v->lora_a != NULL || v->lora_b != NULL || v->lora_dtype != QL_DTYPE_NONE)
      return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                      "there are members of a low-rank term, but its rank is 0");
    return QL_STATUS_OK;
  }
  if (!qli_is_scale_dtype(v->lora_dtype))
    return qli_fail(error, QL_STATUS_DTYPE,
                    "a low-rank term of type %s: F16, BF16 and F32 are known",
                    ql_dtype_name(v->lora_dtype));
  if ((v->cols != 0 && v->lora_a == NULL) || (v->rows != 0 && v->lora_b == NULL))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "a factor of the low-rank term is NULL");
  QLI_TRY(check_factor(v, v->lora_a, v->rank, v->cols, "value of lora_a", error));
  return check_factor(v, v->lora_b, v->rows, v->rank, "value of lora_b", error);
}

ql_status qli_qmat_check(const ql_ctx *ctx, const ql_qmat_view *v, ql_error *error)
{
  QLI_TRY(qli_qmat_check_header(v, error));
  QLI_TRY(check_arrays(v, error));
  QLI_TRY(check_codes(v, error));
  QLI_TRY(check_blocks(v, error));
  QLI_TRY(check_levels(v, error));
  QLI_TRY(check_g_idx(v, error));
  QLI_TRY(check_perm(ctx, v, error));
  QLI_TRY(check_in_scale(v, error));
  QLI_TRY(check_side(v, error));
  return check_low_rank(v, error);
}
