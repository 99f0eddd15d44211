/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "rows.h"

#include "checked.h"
#include "error.h"
#include "fpenv.h"
#include "rtn.h"
#include "tensor_rows.h"

#include <math.h>
#include <string.h>

/* A row passes through buffers of these sizes, which stay in the first cache: whole groups where
 * they are short, else pieces of one. */
enum { PIECE = 2048, TILE_ROWS = 16 };

bool qli_rows_serve(const qli_grid *g)
{
  const bool plain =
      g->kind == QL_GRID_ASYM || (g->kind >= QL_GRID_SYM_CENTRED && g->kind <= QL_GRID_SYM_SIGNED);
  return plain && g->block_rows == 1 && g->cols > 0 && !(g->mse_norm > 0.0) &&
         (g->flags & QL_GRID_CLASSICAL) == 0;
}

typedef struct {
  const qlk_exact *kernels;
  const qli_grid *grid;
  const ql_tensor *w;
  const unsigned char *data; /* of the row */
  size_t row;
  float buffer[PIECE];
} source;

/* Columns first .. first + n - 1 as f32: where they lie, or converted. */
static const float *take(source *s, size_t first, size_t n)
{
  const ql_tensor *w = s->w;
  const unsigned char *from = s->data + (ptrdiff_t)first * w->stride[1];
  const bool dense = w->stride[1] == (ptrdiff_t)(ql_dtype_bits(w->dtype) / 8);
  if (dense && w->dtype == QL_DTYPE_F32 && (uintptr_t)from % sizeof(float) == 0)
    return (const float *)(const void *)from;
  if (dense && w->dtype == QL_DTYPE_F16)
    s->kernels->f16_to_f32(from, n, s->buffer);
  else if (dense && w->dtype == QL_DTYPE_BF16)
    s->kernels->bf16_to_f32(from, n, s->buffer);
  else
    qli_row_to_f32(w->dtype, from, w->stride[1], n, s->buffer);
  return s->buffer;
}

static bool fail_at(const source *s, ql_status status, size_t col, qli_tile_result *result)
{
  *result = (qli_tile_result){status, (int64_t)s->row, (int64_t)col};
  return false;
}

/* The rare group whose point is chosen by its error, which has at most cols columns. */
static bool find_by_error(const ql_ctx *ctx, const source *s, size_t first, size_t n,
                          qli_point *point, qli_tile_result *result)
{
  double *x = qli_alloc(ctx, s->grid->cols, sizeof *x);
  if (x == NULL)
    return fail_at(s, QL_STATUS_NO_MEMORY, first, result);
  qli_weight_row(s->w, s->row, x);
  const qli_cells cells = {x + first, 1, n, s->grid->cols, NULL};
  const bool found = qli_grid_find(s->grid, &cells, point);
  qli_free(ctx, x);
  return found || fail_at(s, QL_STATUS_NUMERIC, first, result);
}

static bool set_point(const ql_ctx *ctx, const source *s, size_t group, float lo, float hi,
                      float *scale, int16_t *zero, qli_tile_result *result)
{
  const qli_grid *g = s->grid;
  const size_t first = group * g->block_cols, n = qli_min_size(g->block_cols, g->cols - first);
  qli_point point;
  const qli_found found = qli_grid_find_plain(g, (double)lo, (double)hi, &point);
  if (found == QLI_FOUND_NONE)
    return fail_at(s, QL_STATUS_NUMERIC, first, result);
  if (found == QLI_FOUND_BY_ERROR && !find_by_error(ctx, s, first, n, &point, result))
    return false;
  *scale = point.scale;
  *zero = (int16_t)point.zero;
  return true;
}

/* A group that is longer than a piece is read twice. */
static bool round_long_group(const ql_ctx *ctx, source *s, size_t group, uint8_t *codes,
                             float *scale, int16_t *zero, qli_tile_result *result)
{
  const qli_grid *g = s->grid;
  const size_t first = group * g->block_cols, end = qli_min_size(first + g->block_cols, g->cols);
  float lo = INFINITY, hi = -INFINITY;
  for (size_t c = first; c < end; c += PIECE) {
    const size_t n = qli_min_size(PIECE, end - c);
    float low, high;
    if (!s->kernels->ranges(take(s, c, n), n, n, &low, &high))
      return fail_at(s, QL_STATUS_NUMERIC, c, result);
    lo = low < lo ? low : lo;
    hi = high > hi ? high : hi;
  }
  if (!set_point(ctx, s, group, lo, hi, scale, zero, result))
    return false;
  for (size_t c = first; c < end; c += PIECE) {
    const size_t n = qli_min_size(PIECE, end - c);
    const qlk_rounded piece = {take(s, c, n), n, n, scale, zero, qli_grid_lowest(g), g->maxq};
    s->kernels->round(&piece, codes + c);
  }
  return true;
}

/* Whole groups, columns first .. first + n - 1. */
static bool round_groups(const ql_ctx *ctx, source *s, size_t first, size_t n, uint8_t *codes,
                         float *scales, int16_t *zeros, qli_tile_result *result)
{
  const qli_grid *g = s->grid;
  float lo[QLI_POINTS], hi[QLI_POINTS];
  uint8_t unusual[QLI_POINTS];
  const float *x = take(s, first, n);
  if (!s->kernels->ranges(x, n, g->block_cols, lo, hi))
    return fail_at(s, QL_STATUS_NUMERIC, first, result);
  const size_t group = first / g->block_cols, count = qli_ceil_div(n, g->block_cols);
  if (qli_grid_points(ctx, g, lo, hi, count, scales + group, zeros + group, unusual))
    for (size_t i = 0; i < count; i++)
      if (unusual[i] && !set_point(ctx, s, group + i, lo[i], hi[i], &scales[group + i],
                                   &zeros[group + i], result))
        return false;
  const qlk_rounded piece = {
      x, n, g->block_cols, scales + group, zeros + group, qli_grid_lowest(g), g->maxq};
  s->kernels->round(&piece, codes + first);
  return true;
}

bool qli_rows_round(const ql_ctx *ctx, const qli_grid *g, const ql_tensor *w, size_t row,
                    uint8_t *codes, float *scales, int16_t *zeros, qli_tile_result *result)
{
  source s;
  s.kernels = &ctx->kernels.exact;
  s.grid = g;
  s.w = w;
  s.data = (const unsigned char *)w->data + (ptrdiff_t)row * w->stride[0];
  s.row = row;
  if (g->block_cols > PIECE) {
    for (size_t k = 0; k < g->groups; k++)
      if (!round_long_group(ctx, &s, k, codes, &scales[k], &zeros[k], result))
        return false;
    return true;
  }
  const size_t step = qli_min_size(PIECE / g->block_cols, QLI_POINTS) * g->block_cols;
  for (size_t c = 0; c < g->cols; c += step)
    if (!round_groups(ctx, &s, c, qli_min_size(step, g->cols - c), codes, scales, zeros, result))
      return false;
  return true;
}

typedef struct {
  const ql_ctx *ctx;
  const qli_grid *grid;
  const ql_tensor *w, *codes, *scales, *zeros;
  size_t scratch_bytes; /* of a tile: scales, then zero points of a row */
} job;

static void store_row(const job *j, size_t row, const float *scales, const int16_t *zeros)
{
  const qlk_exact *kernels = &j->ctx->kernels.exact;
  unsigned char *to = (unsigned char *)j->scales->data + (ptrdiff_t)row * j->scales->stride[0];
  const size_t n = j->grid->groups;
  if (j->scales->dtype == QL_DTYPE_F32)
    memcpy(to, scales, n * sizeof *scales);
  else if (j->scales->dtype == QL_DTYPE_F16)
    kernels->f32_to_f16(scales, n, to);
  else
    kernels->f32_to_bf16(scales, n, to);
  if (j->zeros != NULL)
    memcpy((unsigned char *)j->zeros->data + (ptrdiff_t)row * j->zeros->stride[0], zeros,
           n * sizeof *zeros);
}

static void round_tile(void *arg, size_t tile, qli_tile_result *result)
{
  const job *j = arg;
  float *scales = qli_alloc(j->ctx, 1, j->scratch_bytes);
  if (scales == NULL) {
    result->status = QL_STATUS_NO_MEMORY;
    return;
  }
  int16_t *zeros = (int16_t *)(void *)(scales + j->grid->groups);
  const size_t end = qli_min_size(j->grid->rows, (tile + 1) * TILE_ROWS);
  for (size_t r = tile * TILE_ROWS; r < end; r++) {
    uint8_t *codes = (uint8_t *)j->codes->data + (ptrdiff_t)r * j->codes->stride[0];
    if (!qli_rows_round(j->ctx, j->grid, j->w, r, codes, scales, zeros, result))
      break;
    store_row(j, r, scales, zeros);
  }
  qli_free(j->ctx, scales);
}

static ql_status check_target(const ql_tensor *t, const char *name, size_t rows, size_t cols,
                              ql_error *error)
{
  QLI_TRY(ql_tensor_check(t, error));
  if (t->rank != 2 || t->shape[0] != rows || t->shape[1] != cols)
    return qli_fail(error, QL_STATUS_SHAPE, "%s is not a matrix of %zu x %zu", name, rows, cols);
  if (cols > 1 && t->stride[1] != (ptrdiff_t)(ql_dtype_bits(t->dtype) / 8))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the columns of %s are not contiguous",
                    name);
  return QL_STATUS_OK;
}

static ql_status check_type(const ql_tensor *t, const char *name, ql_dtype dtype, ql_error *error)
{
  if (t->dtype == dtype)
    return QL_STATUS_OK;
  return qli_fail(error, QL_STATUS_DTYPE, "%s is of type %s, not %s", name, ql_dtype_name(t->dtype),
                  ql_dtype_name(dtype));
}

static ql_status check_targets(const qli_grid *g, const ql_tensor *codes, const ql_tensor *scales,
                               const ql_tensor *zeros, ql_error *error)
{
  QLI_TRY(check_target(codes, "codes", g->rows, g->cols, error));
  QLI_TRY(check_type(codes, "codes", QL_DTYPE_U8, error));
  QLI_TRY(check_target(scales, "scales", g->rows, g->groups, error));
  if (scales->dtype != QL_DTYPE_F32)
    QLI_TRY(check_type(scales, "scales", g->scale_dtype, error));
  if (zeros == NULL && g->kind == QL_GRID_ASYM)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "an asymmetric grid needs zeros");
  if (zeros == NULL)
    return QL_STATUS_OK;
  QLI_TRY(check_target(zeros, "zeros", g->rows, g->groups, error));
  return check_type(zeros, "zeros", QL_DTYPE_I16, error);
}

/* A weight that is not finite has its position found again. */
static ql_status run(job *j, ql_error *error)
{
  qli_tile_result failed;
  const size_t tiles = qli_ceil_div(j->grid->rows, TILE_ROWS);
  const ql_status status = qli_tiles_run(j->ctx, "quantize", tiles, round_tile, j, &failed, error);
  if (status != QL_STATUS_NUMERIC)
    return status;
  QLI_TRY(ql_tensor_check_finite(j->ctx, j->w, error));
  return qli_fail_scale(j->grid, &failed, error);
}

ql_status ql_quantize_rows(const ql_ctx *ctx, const ql_tensor *w, const ql_grid_config *grid,
                           const ql_tensor *codes, const ql_tensor *scales, const ql_tensor *zeros,
                           ql_error *error)
{
  qli_grid g;
  if (ctx == NULL || codes == NULL || scales == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, codes or scales is NULL");
  QLI_TRY(qli_check_weight_type(w, error));
  QLI_TRY(qli_grid_resolve(grid, w->shape[0], w->shape[1], &g, error));
  if (g.cols > 0 && !qli_rows_serve(&g)) {
    qli_fail(error, QL_STATUS_UNSUPPORTED,
             "ql_quantize_rows knows integer grids of one row and no search");
    qli_error_hint(error, "ql_rtn_run serves every grid");
    return QL_STATUS_UNSUPPORTED;
  }
  QLI_TRY(check_targets(&g, codes, scales, zeros, error));
  job j = {ctx, &g, w, codes, scales, zeros, 0};
  if (!qli_mul_size(g.groups, sizeof(float) + sizeof(int16_t), &j.scratch_bytes))
    return qli_fail(error, QL_STATUS_OVERFLOW, "%zu groups are too many", g.groups);
  if (g.cols == 0)
    return QL_STATUS_OK;
  const qli_fpenv saved = qli_fpenv_enter();
  const ql_status status = run(&j, error);
  qli_fpenv_leave(saved);
  return status;
}
