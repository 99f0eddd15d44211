/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "act_grid.h"
#include "checked.h"
#include "error.h"
#include "fpenv.h"
#include "tensor_rows.h"

#include <string.h>

enum { TILE_ROWS = 8 };

static ql_status check_columns(const ql_tensor *t, const char *name, ql_error *error)
{
  if (t->rank == 2 && t->shape[1] > 1 && t->stride[1] != (ptrdiff_t)(ql_dtype_bits(t->dtype) / 8))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the columns of %s are not contiguous",
                    name);
  return QL_STATUS_OK;
}

static ql_status check_rows(const ql_tensor *t, const char *name, ql_dtype dtype, size_t rows,
                            ql_error *error)
{
  QLI_TRY(ql_tensor_check(t, error));
  if (t->dtype != dtype)
    return qli_fail(error, QL_STATUS_DTYPE, "%s is of type %s, not %s", name,
                    ql_dtype_name(t->dtype), ql_dtype_name(dtype));
  if (t->rank != 1 || t->shape[0] != rows)
    return qli_fail(error, QL_STATUS_SHAPE, "%s is not a vector of %zu elements", name, rows);
  return QL_STATUS_OK;
}

static ql_status check_group_scales(const ql_tensor *t, const ql_tensor *x,
                                    const ql_act_config *config, ql_error *error)
{
  if (config->group == 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "QL_ACT_GROUP needs a group: columns that share a scale");
  const size_t groups = qli_ceil_div(x->shape[1], config->group);
  QLI_TRY(ql_tensor_check(t, error));
  if (t->dtype != QL_DTYPE_F32)
    return qli_fail(error, QL_STATUS_DTYPE, "scales is of type %s, not F32",
                    ql_dtype_name(t->dtype));
  if (t->rank != 2 || t->shape[0] != x->shape[0] || t->shape[1] != groups)
    return qli_fail(error, QL_STATUS_SHAPE, "scales is not a matrix of %zu x %zu", x->shape[0],
                    groups);
  return QL_STATUS_OK;
}

static ql_status check_arguments(const ql_tensor *x, const ql_act_config *config,
                                 const ql_tensor *codes, const ql_tensor *scales,
                                 const ql_tensor *zeros, ql_error *error)
{
  QLI_TRY(ql_tensor_check(x, error));
  QLI_TRY(ql_tensor_check(codes, error));
  if (x->dtype != QL_DTYPE_F32 && x->dtype != QL_DTYPE_F16 && x->dtype != QL_DTYPE_BF16)
    return qli_fail(error, QL_STATUS_DTYPE, "x is of type %s: F32, F16 and BF16 are known",
                    ql_dtype_name(x->dtype));
  if (codes->dtype != QL_DTYPE_I8)
    return qli_fail(error, QL_STATUS_DTYPE, "codes is of type %s, not I8",
                    ql_dtype_name(codes->dtype));
  if (x->rank != 2 || codes->rank != 2 || x->shape[0] != codes->shape[0] ||
      x->shape[1] != codes->shape[1])
    return qli_fail(error, QL_STATUS_SHAPE, "x and codes are not matrices of one shape");
  QLI_TRY(check_columns(x, "x", error));
  QLI_TRY(check_columns(codes, "codes", error));
  QLI_TRY(config->mode == QL_ACT_GROUP
              ? check_group_scales(scales, x, config, error)
              : check_rows(scales, "scales", QL_DTYPE_F32, x->shape[0], error));
  if (zeros != NULL)
    QLI_TRY(check_rows(zeros, "zeros", QL_DTYPE_I32, x->shape[0], error));
  if (zeros == NULL && config->asymmetric)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "asymmetric codes need zeros");
  if (config->threshold > 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "a threshold splits a product: it says nothing about codes alone");
  return QL_STATUS_OK;
}

typedef struct {
  const ql_ctx *ctx;
  const ql_tensor *x, *codes, *scales, *zeros;
  const ql_act_config *config;
  float *rows;      /* one for each worker */
  uint32_t *ranges; /* [m][2], for a common scale */
} job;

static const float *row_of(const job *j, size_t i, size_t worker)
{
  float *row = j->rows + worker * j->x->shape[1];
  qli_row_to_f32(j->x->dtype, (const unsigned char *)j->x->data + (ptrdiff_t)i * j->x->stride[0],
                 (ptrdiff_t)(ql_dtype_bits(j->x->dtype) / 8), j->x->shape[1], row);
  return row;
}

static void find_ranges(void *arg, size_t index, size_t worker)
{
  const job *j = arg;
  const size_t end = qli_min_size((index + 1) * TILE_ROWS, j->x->shape[0]);
  for (size_t i = index * TILE_ROWS; i < end; i++)
    j->ctx->kernels.a8.range(row_of(j, i, worker), j->x->shape[1], &j->ranges[2 * i],
                             &j->ranges[2 * i + 1]);
}

static void put_zero(const job *j, size_t i, int32_t zero)
{
  if (j->zeros != NULL)
    memcpy((char *)j->zeros->data + (ptrdiff_t)i * j->zeros->stride[0], &zero, sizeof zero);
}

static void quantize_groups(const job *j, size_t i, const float *row)
{
  const size_t n = j->x->shape[1];
  int8_t *codes = (int8_t *)j->codes->data + (ptrdiff_t)i * j->codes->stride[0];
  char *scales = (char *)j->scales->data + (ptrdiff_t)i * j->scales->stride[0];
  int32_t zero;
  for (size_t c = 0; c < n; c += j->config->group, scales += j->scales->stride[1]) {
    float scale;
    qli_act_row(&j->ctx->kernels.a8, j->config, row + c, qli_min_size(j->config->group, n - c),
                codes + c, &scale, &zero);
    memcpy(scales, &scale, sizeof scale);
  }
}

static void quantize_rows(void *arg, size_t index, size_t worker)
{
  const job *j = arg;
  const size_t end = qli_min_size((index + 1) * TILE_ROWS, j->x->shape[0]);
  for (size_t i = index * TILE_ROWS; i < end; i++) {
    const float *row = row_of(j, i, worker);
    float scale;
    int32_t zero = 0;
    if (j->config->mode == QL_ACT_GROUP) {
      quantize_groups(j, i, row);
      put_zero(j, i, zero);
      continue;
    }
    qli_act_row(&j->ctx->kernels.a8, j->config, row, j->x->shape[1],
                (int8_t *)j->codes->data + (ptrdiff_t)i * j->codes->stride[0], &scale, &zero);
    memcpy((char *)j->scales->data + (ptrdiff_t)i * j->scales->stride[0], &scale, sizeof scale);
    put_zero(j, i, zero);
  }
}

static void run(job *j, ql_act_config *config)
{
  const size_t m = j->x->shape[0], tiles = qli_ceil_div(m, TILE_ROWS);
  const double work = (double)m * (double)j->x->shape[1];
  if (config->mode == QL_ACT_TENSOR) {
    uint32_t negative = 0, positive = 0;
    qli_parallel_for_work(j->ctx, work, tiles, find_ranges, j);
    for (size_t i = 0; i < m; i++) {
      negative = j->ranges[2 * i] > negative ? j->ranges[2 * i] : negative;
      positive = j->ranges[2 * i + 1] > positive ? j->ranges[2 * i + 1] : positive;
    }
    qli_act_grid(config->asymmetric, negative, positive, &config->scale, &config->zero);
    config->mode = QL_ACT_STATIC;
  }
  qli_parallel_for_work(j->ctx, work, tiles, quantize_rows, j);
}

ql_status ql_quantize_act(const ql_ctx *ctx, const ql_tensor *x, const ql_act_config *config,
                          const ql_tensor *codes, const ql_tensor *scales, const ql_tensor *zeros,
                          ql_error *error)
{
  ql_act_config c;
  if (ctx == NULL || x == NULL || codes == NULL || scales == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, x, codes or scales is NULL");
  QLI_TRY(qli_act_check(config, &c, error));
  QLI_TRY(check_arguments(x, &c, codes, scales, zeros, error));
  QLI_TRY(ql_tensor_check_finite(ctx, x, error));
  job j = {.ctx = ctx, .x = x, .codes = codes, .scales = scales, .zeros = zeros, .config = &c};
  size_t row_bytes;
  if (qli_mul_size(x->shape[1], sizeof(float), &row_bytes)) {
    j.rows = qli_alloc(ctx, ctx->executor.max_workers, row_bytes);
    j.ranges = qli_alloc(ctx, x->shape[0], 2 * sizeof *j.ranges);
  }
  ql_status status = QL_STATUS_OK;
  if (j.rows == NULL || j.ranges == NULL) {
    status = qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to quantize %zu x %zu activations",
                      x->shape[0], x->shape[1]);
  } else {
    const qli_fpenv saved = qli_fpenv_enter();
    run(&j, &c);
    qli_fpenv_leave(saved);
  }
  qli_free(ctx, j.rows);
  qli_free(ctx, j.ranges);
  return status;
}
