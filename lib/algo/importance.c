/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "importance.h"

#include "checked.h"
#include "error.h"

#include <math.h>
#include <stdbool.h>

static ql_status fail_entry(double x, size_t row, size_t col, const char *what, ql_error *error)
{
  qli_fail(error, QL_STATUS_NUMERIC, "%s holds %g at row %zu, column %zu", what, x, row, col);
  qli_error_at(error, (int64_t)row, (int64_t)col);
  qli_error_hint(error, "the calibration data or the statistics file is damaged");
  return QL_STATUS_NUMERIC;
}

typedef struct {
  const double *h;
  size_t n;
  unsigned char *bad; /* for each row */
} scan_job;

static bool is_bad(const scan_job *j, size_t r, size_t c)
{
  const double x = j->h[r * j->n + c];
  return !isfinite(x) || (r == c && x < 0.0);
}

static void scan_row(void *arg, size_t r, size_t worker)
{
  const scan_job *j = arg;
  const double *row = j->h + r * j->n;
  double zero = 0.0; /* NaN as soon as one number is not finite */
  (void)worker;
  for (size_t c = 0; c < j->n; c++)
    zero += 0.0 * row[c];
  j->bad[r] = zero != 0.0 || row[r] < 0.0;
}

static ql_status check_hessian(const ql_ctx *ctx, const double *h, size_t n, ql_error *error)
{
  scan_job j = {h, n, qli_alloc(ctx, n, 1)};
  size_t r = 0, c = 0;
  if (j.bad == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to check %zu rows", n);
  qli_parallel_for(ctx, n, scan_row, &j);
  while (r < n && !j.bad[r])
    r++;
  qli_free(ctx, j.bad);
  if (r == n)
    return QL_STATUS_OK;
  while (!is_bad(&j, r, c))
    c++;
  return fail_entry(h[r * n + c], r, c, "the Hessian", error);
}

ql_status qli_hessian_into(const ql_ctx *ctx, const ql_stats *stats, double *h, ql_error *error)
{
  const size_t n = ql_stats_cols(stats);
  ql_tensor t;
  QLI_TRY(ql_tensor_init_2d(&t, h, QL_DTYPE_F64, n, n));
  QLI_TRY(ql_stats_get(ctx, stats, QL_STATS_HESSIAN, &t, error));
  return check_hessian(ctx, h, n, error);
}

ql_status qli_hessian(const ql_ctx *ctx, const ql_stats *stats, double **out, ql_error *error)
{
  const size_t n = ql_stats_cols(stats);
  size_t cells;
  double *h = qli_mul_size(n, n, &cells) ? qli_alloc(ctx, cells, sizeof *h) : NULL;
  if (h == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a Hessian of %zu x %zu", n, n);
  const ql_status status = qli_hessian_into(ctx, stats, h, error);
  if (status == QL_STATUS_OK)
    *out = h;
  else
    qli_free(ctx, h);
  return status;
}

static ql_status from_sum_sq(const ql_ctx *ctx, const ql_stats *stats, double *weight,
                             ql_error *error)
{
  const size_t n = ql_stats_cols(stats);
  ql_tensor t;
  QLI_TRY(ql_tensor_init(&t, weight, QL_DTYPE_F64, 1, &n));
  QLI_TRY(ql_stats_get(ctx, stats, QL_STATS_SUM_SQ, &t, error));
  for (size_t c = 0; c < n; c++)
    if (!isfinite(weight[c]) || weight[c] < 0.0)
      return fail_entry(weight[c], 0, c, "the sum of squares", error);
  return QL_STATUS_OK;
}

static ql_status from_hessian(const ql_ctx *ctx, const ql_stats *stats, double *weight,
                              ql_error *error)
{
  const size_t n = ql_stats_cols(stats);
  double *h = NULL;
  QLI_TRY(qli_hessian(ctx, stats, &h, error));
  for (size_t c = 0; c < n; c++)
    weight[c] = h[c * n + c];
  qli_free(ctx, h);
  return QL_STATUS_OK;
}

ql_status qli_importance(const ql_ctx *ctx, const ql_stats *stats, double **out, ql_error *error)
{
  const uint32_t what = stats != NULL ? ql_stats_what(stats) : 0;
  if ((what & (QL_STATS_SUM_SQ | QL_STATS_HESSIAN)) == 0)
    return QL_STATUS_OK;
  double *weight = qli_alloc(ctx, ql_stats_cols(stats), sizeof *weight);
  if (weight == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu importances",
                    ql_stats_cols(stats));
  const ql_status status = (what & QL_STATS_SUM_SQ) != 0 ? from_sum_sq(ctx, stats, weight, error)
                                                         : from_hessian(ctx, stats, weight, error);
  if (status == QL_STATUS_OK)
    *out = weight;
  else
    qli_free(ctx, weight);
  return status;
}
