/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "factor.h"

#include "checked.h"
#include "error.h"
#include "fpenv.h"
#include "importance.h"
#include "linalg.h"
#include "order.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

/* First retry when no damping at all was asked for. */
static const double first_damp = 1e-6;

static bool is_flag(int32_t value)
{
  return value == 0 || value == 1;
}

ql_status qli_gptq_config_check(const ql_gptq_config *config, ql_gptq_config *out, ql_error *error)
{
  ql_gptq_config c = QL_GPTQ_CONFIG_INIT;
  if (config != NULL && !qli_config_copy(&c, sizeof c, sizeof c, config))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "ql_gptq_config.struct_size is not that of QL_GPTQ_CONFIG_INIT");
  if (c.order < QL_GPTQ_ORDER_NATURAL || c.order > QL_GPTQ_ORDER_GROUP_AWARE)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "unknown column order %d", (int)c.order);
  if (c.fallback != QL_GPTQ_FALLBACK_RTN && c.fallback != QL_GPTQ_FALLBACK_ERROR)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "unknown fallback %d", (int)c.fallback);
  if (!(c.damp >= 0.0 && isfinite(c.damp)) || !(c.damp_max >= 0.0 && isfinite(c.damp_max)))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "damp %g and damp_max %g must be finite and not negative", c.damp, c.damp_max);
  if (!(c.damp_factor > 1.0 && isfinite(c.damp_factor)))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "damp_factor %g must be above 1",
                    c.damp_factor);
  if (!is_flag(c.dead_keep) || !is_flag(c.static_grids) || !is_flag(c.lapack) ||
      !is_flag(c.classical))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "a flag of ql_gptq_config is not 0 or 1");
  if (c.block == 0)
    c.block = 128;
  *out = c;
  return QL_STATUS_OK;
}

/* Mean over the columns that saw input; the classical program counts each other column as 1. */
static double mean_diag(const ql_gptq_factor *f, bool classical)
{
  return classical ? (f->trace + (double)f->dead * f->dead_diag) / (double)f->cols
                   : f->trace / (double)(f->cols - f->dead);
}

typedef struct {
  const ql_gptq_factor *f;
  const double *hessian; /* in the order of the columns */
} copy_job;

/* H is zero where a diagonal element is, as in any sum of x x^T; a damaged one is made so. */
static void copy_row(const copy_job *j, size_t i, size_t first, size_t end)
{
  const ql_gptq_factor *f = j->f;
  const double *from = j->hessian + (size_t)f->perm[i] * f->cols;
  double *to = f->matrix + i * f->cols;
  for (size_t k = first; k < end; k++)
    to[k] = f->diag[i] == 0.0 || f->diag[k] == 0.0 ? 0.0 : from[f->perm[k]];
}

static void copy_rows(void *arg, size_t tile, size_t worker)
{
  const copy_job *j = arg;
  const ql_gptq_factor *f = j->f;
  const size_t n = f->cols, end = qli_min_size(n, (tile + 1) * QLK_PANEL);
  (void)worker;
  for (size_t i = tile * QLK_PANEL; i < end; i++) {
    copy_row(j, i, 0, n);
    f->matrix[i * n + i] = f->diag[i] + qli_factor_excess(f, i);
  }
}

/* What the factorization has left of H below the diagonal lacks the blocks on the diagonal. */
static void mend_rows(void *arg, size_t tile, size_t worker)
{
  const copy_job *j = arg;
  const size_t first = tile * QLK_PANEL, end = qli_min_size(j->f->cols, first + QLK_PANEL);
  (void)worker;
  for (size_t i = first; i < end; i++)
    copy_row(j, i, first, i);
}

/* LAPACK's has left zeros there. */
static void copy_below(void *arg, size_t tile, size_t worker)
{
  const copy_job *j = arg;
  const size_t end = qli_min_size(j->f->cols, (tile + 1) * QLK_PANEL);
  (void)worker;
  for (size_t i = tile * QLK_PANEL; i < end; i++)
    copy_row(j, i, 0, i);
}

static void run_copy(const ql_gptq_factor *f, const double *hessian, ql_task task)
{
  copy_job j = {f, hessian};
  qli_parallel_for(f->ctx, qli_ceil_div(f->cols, QLK_PANEL), task, &j);
}

/* A pivot that is lost in the rounding errors of its own sum is no pivot. Its square is H~_kk less
 * up to cols terms, with an error of cols * 2^-52 of that, which what was eliminated before may
 * have amplified: a margin of 256 for it. Damping by 0.01 keeps the square above 0.01 / cols of
 * H~_kk, two orders above this even for 28672 columns. */
static bool pivots_hold(const ql_gptq_factor *f)
{
  for (size_t k = 0; k < f->cols; k++) {
    const double pivot = qli_factor_pivot(f, k);
    const double whole = f->diag[k] + qli_factor_excess(f, k);
    if (!(pivot * pivot > 256.0 * (double)f->cols * DBL_EPSILON * whole))
      return false;
  }
  return true;
}

/* QL_STATUS_NUMERIC: not positive definite with this damping. */
static ql_status try_damping(ql_gptq_factor *f, const double *hessian, const ql_gptq_config *c,
                             ql_error *error)
{
  const double mean = mean_diag(f, c->classical != 0);
  f->lambda = f->damp * mean;
  if (c->classical == 0)
    f->dead_diag = f->lambda > 0.0 ? 0.0 : mean;
  run_copy(f, hessian, copy_rows);
  if (c->lapack != 0)
    QLI_TRY(qli_chol_reverse_lapack(f->ctx, f->cols, f->matrix, f->cols, NULL, error));
  else
    QLI_TRY(qli_chol_upper(f->ctx, f->cols, f->matrix, f->cols, 0, NULL, error));
  return pivots_hold(f) ? QL_STATUS_OK : QL_STATUS_NUMERIC;
}

static ql_status give_up(ql_gptq_factor *f, ql_gptq_outcome outcome, const ql_gptq_config *c,
                         ql_error *error)
{
  char reason[160];
  const size_t live = f->trace > 0.0 ? f->cols - f->dead : 0;
  f->outcome = outcome;
  qli_free(f->ctx, f->matrix);
  f->matrix = NULL;
  if (outcome == QL_GPTQ_STARVED)
    snprintf(reason, sizeof reason, "only %llu calibration tokens, %zu of %zu columns saw input",
             (unsigned long long)f->tokens, live, f->cols);
  else
    snprintf(reason, sizeof reason,
             "the Hessian of %llu tokens (%zu of %zu columns saw input) "
             "is not positive definite",
             (unsigned long long)f->tokens, live, f->cols);
  if (c->fallback == QL_GPTQ_FALLBACK_ERROR) {
    qli_fail(error, QL_STATUS_NUMERIC, "%s", reason);
    qli_error_hint(error,
                   "calibrate with more tokens, raise damp_max or allow rounding to nearest");
    return QL_STATUS_NUMERIC;
  }
  qli_log(f->ctx, QL_LOG_WARNING, "gptq: %s: weights are rounded to nearest", reason);
  return QL_STATUS_OK;
}

static ql_status climb_damping(ql_gptq_factor *f, const double *hessian, const ql_gptq_config *c,
                               ql_error *error)
{
  ql_error cause = QL_ERROR_INIT;
  f->damp = c->damp;
  for (;;) {
    const ql_status status = try_damping(f, hessian, c, &cause);
    if (status == QL_STATUS_OK)
      break;
    if (status != QL_STATUS_NUMERIC)
      return qli_fail(error, status, "%s", cause.text);
    f->retries++;
    const double next = f->damp > 0.0 ? f->damp * c->damp_factor : first_damp;
    if (next > c->damp_max * (1.0 + 1e-12))
      return give_up(f, QL_GPTQ_NOT_POSITIVE, c, error);
    qli_log(f->ctx, QL_LOG_WARNING, "gptq: a damping of %g is not enough, trying %g", f->damp,
            next);
    f->damp = next;
    QLI_TRY(qli_progress(f->ctx, "factor", 0, 1, error));
  }
  f->outcome = f->retries > 0 ? QL_GPTQ_DAMPED : QL_GPTQ_DONE;
  run_copy(f, hessian, c->lapack != 0 ? copy_below : mend_rows);
  return QL_STATUS_OK;
}

/* The order needs the diagonal by column, everything later by position. */
static ql_status set_order(ql_gptq_factor *f, const double *hessian, ql_error *error)
{
  for (size_t c = 0; c < f->cols; c++) {
    f->diag[c] = hessian[c * f->cols + c];
    f->dead += f->diag[c] == 0.0;
    f->trace += f->diag[c];
  }
  QLI_TRY(qli_order(f->ctx, f->order, f->cols, f->group, f->diag, f->perm, error));
  for (size_t k = 0; k < f->cols; k++)
    f->diag[k] = hessian[(size_t)f->perm[k] * f->cols + (size_t)f->perm[k]];
  return QL_STATUS_OK;
}

static ql_status fill_factor(ql_gptq_factor *f, const ql_stats *stats, const ql_gptq_config *c,
                             ql_error *error)
{
  double *hessian = NULL;
  if (f->tokens < c->min_tokens)
    return give_up(f, QL_GPTQ_STARVED, c, error);
  QLI_TRY(qli_hessian(f->ctx, stats, &hessian, error));
  ql_status status = set_order(f, hessian, error);
  if (status == QL_STATUS_OK && f->dead == f->cols)
    status = give_up(f, QL_GPTQ_STARVED, c, error);
  else if (status == QL_STATUS_OK) {
    /* The classical H is 2 / n times ours; its dead columns are 1 there. */
    f->dead_diag = (double)f->tokens / 2.0;
    f->matrix = qli_alloc(f->ctx, f->cols * f->cols, sizeof *f->matrix);
    status = f->matrix != NULL ? climb_damping(f, hessian, c, error)
                               : qli_fail(error, QL_STATUS_NO_MEMORY,
                                          "no memory for a factor of %zu x %zu", f->cols, f->cols);
  }
  qli_free(f->ctx, hessian);
  return status;
}

static ql_status new_factor(const ql_ctx *ctx, size_t cols, ql_gptq_factor **out, ql_error *error)
{
  size_t cells;
  ql_gptq_factor *f = NULL;
  if (qli_mul_size(cols, cols, &cells) && cols <= INT32_MAX)
    f = qli_calloc(ctx, 1, sizeof *f);
  if (f != NULL) {
    f->ctx = ctx;
    f->cols = cols;
    f->diag = qli_calloc(ctx, cols, sizeof *f->diag);
    f->perm = qli_calloc(ctx, cols, sizeof *f->perm);
  }
  if (f == NULL || f->diag == NULL || f->perm == NULL) {
    ql_gptq_factor_destroy(f);
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a factor of %zu columns", cols);
  }
  *out = f;
  return QL_STATUS_OK;
}

ql_status ql_gptq_factor_create(const ql_ctx *ctx, const ql_stats *stats, size_t group,
                                const ql_gptq_config *config, ql_gptq_factor **out, ql_error *error)
{
  ql_gptq_config c;
  ql_gptq_factor *f = NULL;
  if (ctx == NULL || stats == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, stats or out is NULL");
  QLI_TRY(qli_gptq_config_check(config, &c, error));
  if ((ql_stats_what(stats) & QL_STATS_HESSIAN) == 0)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the statistics hold no Hessian");
  const size_t cols = ql_stats_cols(stats);
  QLI_TRY(new_factor(ctx, cols, &f, error));
  f->group = group == 0 || group > cols ? (cols ? cols : 1) : group;
  f->order = c.order;
  f->tokens = ql_stats_tokens(stats);
  const qli_fpenv saved = qli_fpenv_enter();
  const ql_status status = fill_factor(f, stats, &c, error);
  qli_fpenv_leave(saved);
  if (status != QL_STATUS_OK) {
    ql_gptq_factor_destroy(f);
    return status;
  }
  *out = f;
  return QL_STATUS_OK;
}

void ql_gptq_factor_destroy(ql_gptq_factor *factor)
{
  if (factor == NULL)
    return;
  qli_free(factor->ctx, factor->matrix);
  qli_free(factor->ctx, factor->diag);
  qli_free(factor->ctx, factor->perm);
  qli_free(factor->ctx, factor);
}
