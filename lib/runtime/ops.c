/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "checked.h"
#include "ctx.h"
#include "error.h"
#include "ops_args.h"

#include <quantlib/ops.h>

#include <math.h>

/* Elements of one piece of parallel work. Rows are independent of each other, so the size of a
 * piece decides no bit; it must only not depend on the number of workers. */
enum { TILE = 16384 };

/* Up to three matrices whose rows go together, and the operation on row i. */
typedef struct rows_work rows_work;
struct rows_work {
  const qlk_ops *ops;
  const ql_tensor *a, *b, *y;
  size_t rows, rows_per_tile;
  float eps;
  void (*row)(const rows_work *work, size_t i);
};

static void run_tile(void *arg, size_t index, size_t worker)
{
  const rows_work *work = arg;
  const size_t begin = index * work->rows_per_tile;
  const size_t end = qli_min_size(work->rows, begin + work->rows_per_tile);
  (void)worker;
  for (size_t i = begin; i < end; i++)
    work->row(work, i);
}

static void run_rows(const ql_ctx *ctx, rows_work *work, size_t rows, size_t cols)
{
  if (rows == 0 || cols == 0)
    return;
  work->ops = &ctx->kernels.ops;
  work->rows = rows;
  work->rows_per_tile = cols < TILE ? TILE / cols : 1;
  /* A row operation costs about as much as eight multiply-adds an element. */
  qli_parallel_for_work(ctx, 8.0 * (double)rows * (double)cols,
                        qli_ceil_div(rows, work->rows_per_tile), run_tile, work);
}

static ql_status check_ctx(const ql_ctx *ctx, ql_error *error)
{
  return ctx == NULL ? qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx is NULL") : QL_STATUS_OK;
}

/* x and y, both matrices of the same shape, y being written. */
static ql_status check_pair(const ql_ctx *ctx, const ql_tensor *x, const char *x_name,
                            const ql_tensor *y, ql_error *error)
{
  QLI_TRY(check_ctx(ctx, error));
  QLI_TRY(qli_ops_check(x, x_name, 2, false, error));
  QLI_TRY(qli_ops_check(y, "y", 2, true, error));
  return qli_ops_same_shape(x, x_name, y, "y", error);
}

static void rms_norm_row(const rows_work *work, size_t i)
{
  work->ops->rms_norm(qli_ops_row(work->a, i), work->b->data, work->eps, work->a->shape[1],
                      qli_ops_row(work->y, i));
}

ql_status ql_rms_norm(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *weight, float eps,
                      const ql_tensor *y, ql_error *error)
{
  QLI_TRY(check_pair(ctx, x, "x", y, error));
  QLI_TRY(qli_ops_check(weight, "weight", 1, false, error));
  if (weight->shape[0] != x->shape[1])
    return qli_fail(error, QL_STATUS_SHAPE, "weight has %zu elements, x has %zu columns",
                    weight->shape[0], x->shape[1]);
  if (!(eps >= 0.0f) || !isfinite(eps))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "eps %g is negative or not finite",
                    (double)eps);
  rows_work work = {.a = x, .b = weight, .y = y, .eps = eps, .row = rms_norm_row};
  run_rows(ctx, &work, x->shape[0], x->shape[1]);
  return QL_STATUS_OK;
}

static void rope_row(const rows_work *work, size_t i)
{
  for (size_t h = 0; h < work->y->shape[1]; h++)
    work->ops->rope(qli_ops_row2(work->y, i, h), qli_ops_row(work->a, i), qli_ops_row(work->b, i),
                    work->y->shape[2] / 2);
}

static ql_status check_angles(const ql_tensor *t, const char *name, const ql_tensor *x,
                              ql_error *error)
{
  QLI_TRY(qli_ops_check(t, name, 2, false, error));
  if (t->shape[0] != x->shape[0] || t->shape[1] != x->shape[2] / 2)
    return qli_fail(error, QL_STATUS_SHAPE, "%s is %zu x %zu, x needs %zu x %zu", name, t->shape[0],
                    t->shape[1], x->shape[0], x->shape[2] / 2);
  return QL_STATUS_OK;
}

ql_status ql_rope(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *cosines,
                  const ql_tensor *sines, ql_error *error)
{
  size_t cols;
  QLI_TRY(check_ctx(ctx, error));
  QLI_TRY(qli_ops_check(x, "x", 3, true, error));
  if (x->shape[2] % 2 != 0)
    return qli_fail(error, QL_STATUS_SHAPE, "heads of x have an odd size, %zu", x->shape[2]);
  QLI_TRY(check_angles(cosines, "cosines", x, error));
  QLI_TRY(check_angles(sines, "sines", x, error));
  if (!qli_mul_size(x->shape[1], x->shape[2], &cols))
    return qli_fail(error, QL_STATUS_OVERFLOW, "x has %zu heads of %zu: too many", x->shape[1],
                    x->shape[2]);
  rows_work work = {.a = cosines, .b = sines, .y = x, .row = rope_row};
  run_rows(ctx, &work, x->shape[0], cols);
  return QL_STATUS_OK;
}

static void silu_mul_row(const rows_work *work, size_t i)
{
  work->ops->silu_mul(qli_ops_row(work->a, i), qli_ops_row(work->b, i), work->a->shape[1],
                      qli_ops_row(work->y, i));
}

ql_status ql_silu_mul(const ql_ctx *ctx, const ql_tensor *gate, const ql_tensor *up,
                      const ql_tensor *y, ql_error *error)
{
  QLI_TRY(check_pair(ctx, gate, "gate", y, error));
  QLI_TRY(qli_ops_check(up, "up", 2, false, error));
  QLI_TRY(qli_ops_same_shape(gate, "gate", up, "up", error));
  rows_work work = {.a = gate, .b = up, .y = y, .row = silu_mul_row};
  run_rows(ctx, &work, y->shape[0], y->shape[1]);
  return QL_STATUS_OK;
}

static void add_row(const rows_work *work, size_t i)
{
  work->ops->add(qli_ops_row(work->a, i), work->a->shape[1], qli_ops_row(work->y, i));
}

ql_status ql_add(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *y, ql_error *error)
{
  QLI_TRY(check_pair(ctx, x, "x", y, error));
  rows_work work = {.a = x, .y = y, .row = add_row};
  run_rows(ctx, &work, y->shape[0], y->shape[1]);
  return QL_STATUS_OK;
}

static void softmax_row(const rows_work *work, size_t i)
{
  work->ops->softmax(qli_ops_row(work->a, i), work->a->shape[1], qli_ops_row(work->y, i));
}

ql_status ql_softmax(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *y, ql_error *error)
{
  QLI_TRY(check_pair(ctx, x, "x", y, error));
  rows_work work = {.a = x, .y = y, .row = softmax_row};
  run_rows(ctx, &work, y->shape[0], y->shape[1]);
  return QL_STATUS_OK;
}

static void log_softmax_row(const rows_work *work, size_t i)
{
  work->ops->log_softmax(qli_ops_row(work->a, i), work->a->shape[1], qli_ops_row(work->y, i));
}

ql_status ql_log_softmax(const ql_ctx *ctx, const ql_tensor *x, const ql_tensor *y, ql_error *error)
{
  QLI_TRY(check_pair(ctx, x, "x", y, error));
  rows_work work = {.a = x, .y = y, .row = log_softmax_row};
  run_rows(ctx, &work, y->shape[0], y->shape[1]);
  return QL_STATUS_OK;
}
