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
#include <string.h>

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

/* --- H into the order of quantization, in place --- */

enum { TILE = QLK_PANEL, STRIPE = 512 };

typedef struct {
  ql_gptq_factor *f;
  const int32_t *starts; /* one position of each cycle of perm */
  size_t cycles;
  double *rows; /* [cols] for each worker */
  double *kept; /* [cols][TILE]: H below the diagonal of the blocks on the diagonal */
} place_job;

/* A stripe of columns: row perm[k] becomes row k. */
static void move_rows(void *arg, size_t index, size_t worker)
{
  const place_job *j = arg;
  const size_t cols = j->f->cols, first = index * STRIPE;
  const size_t bytes = qli_min_size(STRIPE, cols - first) * sizeof(double);
  const int32_t *perm = j->f->perm;
  double *h = j->f->matrix + first, saved[STRIPE];
  (void)worker;
  for (size_t i = 0; i < j->cycles; i++) {
    const int32_t start = j->starts[i];
    int32_t k = start;
    memcpy(saved, h + (size_t)k * cols, bytes);
    for (; perm[k] != start; k = perm[k])
      memcpy(h + (size_t)k * cols, h + (size_t)perm[k] * cols, bytes);
    memcpy(h + (size_t)k * cols, saved, bytes);
  }
}

static void keep_row(const place_job *j, size_t i)
{
  const size_t first = i / TILE * TILE;
  memcpy(j->kept + i * TILE, j->f->matrix + i * j->f->cols + first, (i - first) * sizeof(double));
}

/* H is zero where a diagonal element is, as in any sum of x x^T; a damaged one is made so. */
static void move_columns(void *arg, size_t i, size_t worker)
{
  const place_job *j = arg;
  const ql_gptq_factor *f = j->f;
  double *row = f->matrix + i * f->cols, *from = j->rows + worker * f->cols;
  memcpy(from, row, f->cols * sizeof *row);
  for (size_t k = 0; k < f->cols; k++)
    row[k] = f->diag[i] == 0.0 || f->diag[k] == 0.0 ? 0.0 : from[f->perm[k]];
  row[i] = f->diag[i] + qli_factor_excess(f, i);
  keep_row(j, i);
}

/* Returns the number of cycles that are longer than 1. */
static size_t find_cycles(const int32_t *perm, size_t n, unsigned char *seen, int32_t *starts)
{
  size_t count = 0;
  for (size_t i = 0; i < n; i++) {
    if (seen[i] || (size_t)perm[i] == i)
      continue;
    starts[count++] = (int32_t)i;
    for (int32_t k = (int32_t)i; !seen[k]; k = perm[k])
      seen[k] = 1;
  }
  return count;
}

/* The damped H in the order of quantization, from one in the order of the columns. */
static ql_status place(ql_gptq_factor *f, double *kept, ql_error *error)
{
  const ql_ctx *ctx = f->ctx;
  unsigned char *seen = qli_calloc(ctx, f->cols, 1);
  int32_t *starts = qli_alloc(ctx, f->cols, sizeof *starts);
  double *rows = qli_alloc(ctx, f->cols * sizeof *rows, ql_ctx_workers(ctx));
  const bool good = seen != NULL && starts != NULL && rows != NULL;
  if (good) {
    place_job j = {f, starts, find_cycles(f->perm, f->cols, seen, starts), rows, kept};
    if (j.cycles > 0)
      qli_parallel_for(ctx, qli_ceil_div(f->cols, STRIPE), move_rows, &j);
    qli_parallel_for(ctx, f->cols, move_columns, &j);
  }
  qli_free(ctx, seen);
  qli_free(ctx, starts);
  qli_free(ctx, rows);
  return good ? QL_STATUS_OK
              : qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to sort %zu columns", f->cols);
}

/* The least R_kk^2 / H~_kk: what is left of a column when all later ones are taken out of it. */
static double least_pivot(const ql_gptq_factor *f)
{
  double least = 1.0;
  for (size_t k = 0; k < f->cols; k++) {
    const double pivot = qli_factor_pivot(f, k);
    const double part = pivot * pivot / (f->diag[k] + qli_factor_excess(f, k));
    if (!(part > 0.0))
      return 0.0;
    least = part < least ? part : least;
  }
  return least;
}

/* A pivot that is lost in the rounding errors of its own sum is no pivot. Its square is H~_kk less
 * up to cols terms, with an error of cols * 2^-52 of that, which what was eliminated before may
 * have amplified: a margin of 256 for it. Damping by 0.01 keeps the square above 0.01 / cols of
 * H~_kk, two orders above this even for 28672 columns. */
static bool pivots_hold(const ql_gptq_factor *f)
{
  return least_pivot(f) > 256.0 * (double)f->cols * DBL_EPSILON;
}

/* Products in f32 perturb H~ as its own accumulation did, by some 2^-22 sqrt(H_ii H_jj). Where this
 * much of each column stands by itself no loss is moved by it: doc/design/0006. */
static const double enough_for_narrow = 0x1p-8;

/* LAPACK wants the lower triangle for itself: H goes back into it from a copy. */
static ql_status factor_lapack(ql_gptq_factor *f, ql_error *error)
{
  const size_t n = f->cols;
  double *copy = qli_alloc(f->ctx, n * n, sizeof *copy);
  if (copy == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a Hessian of %zu x %zu", n, n);
  memcpy(copy, f->matrix, n * n * sizeof *copy);
  const ql_status status = qli_chol_reverse_lapack(f->ctx, n, f->matrix, n, NULL, error);
  for (size_t i = 0; i < n; i++)
    memcpy(f->matrix + i * n, copy + i * n, i * sizeof *copy);
  qli_free(f->ctx, copy);
  return status;
}

/* What the factorization leaves of H below the diagonal lacks the blocks on the diagonal. */
static ql_status factor_own(ql_gptq_factor *f, bool narrow, const double *kept, ql_error *error)
{
  const size_t n = f->cols;
  const ql_status status = qli_chol_upper(f->ctx, n, f->matrix, n, narrow, NULL, error);
  for (size_t i = 0; i < n; i++) {
    const size_t first = i / TILE * TILE;
    memcpy(f->matrix + i * n + first, kept + i * TILE, (i - first) * sizeof *kept);
  }
  return status;
}

/* f->matrix is H in the order of the columns. */
static ql_status factor_damped(ql_gptq_factor *f, bool narrow, const ql_gptq_config *c,
                               ql_error *error)
{
  double *kept = qli_alloc(f->ctx, f->cols, TILE * sizeof *kept);
  if (kept == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to factor %zu columns", f->cols);
  ql_status status = place(f, kept, error);
  if (status == QL_STATUS_OK)
    status = c->lapack != 0 ? factor_lapack(f, error) : factor_own(f, narrow, kept, error);
  qli_free(f->ctx, kept);
  return status;
}

/* f->matrix is H in the order of the columns. QL_STATUS_NUMERIC: not positive definite with this
 * damping. */
static ql_status try_damping(ql_gptq_factor *f, const ql_stats *stats, const ql_gptq_config *c,
                             ql_error *error)
{
  const double mean = mean_diag(f, c->classical != 0);
  const bool narrow = f->cols > QLI_FACTOR_NARROW && c->classical == 0 && c->lapack == 0;
  f->lambda = f->damp * mean;
  if (c->classical == 0)
    f->dead_diag = f->lambda > 0.0 ? 0.0 : mean;
  ql_status status = factor_damped(f, narrow, c, error);
  if (narrow && (status == QL_STATUS_NUMERIC ||
                 (status == QL_STATUS_OK && !(least_pivot(f) >= enough_for_narrow)))) {
    QLI_TRY(qli_hessian_into(f->ctx, stats, f->matrix, error));
    status = factor_damped(f, false, c, error);
  }
  return status != QL_STATUS_OK || pivots_hold(f) ? status : QL_STATUS_NUMERIC;
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

static ql_status climb_damping(ql_gptq_factor *f, const ql_stats *stats, const ql_gptq_config *c,
                               ql_error *error)
{
  ql_error cause = QL_ERROR_INIT;
  f->damp = c->damp;
  for (;;) {
    const ql_status status = try_damping(f, stats, c, &cause);
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
    QLI_TRY(qli_hessian_into(f->ctx, stats, f->matrix, error));
  }
  f->outcome = f->retries > 0 ? QL_GPTQ_DAMPED : QL_GPTQ_DONE;
  return QL_STATUS_OK;
}

/* The order needs the diagonal by column, everything later by position. */
static ql_status set_order(ql_gptq_factor *f, ql_error *error)
{
  for (size_t c = 0; c < f->cols; c++) {
    f->diag[c] = f->matrix[c * f->cols + c];
    f->dead += f->diag[c] == 0.0;
    f->trace += f->diag[c];
  }
  QLI_TRY(qli_order(f->ctx, f->order, f->cols, f->group, f->diag, f->perm, error));
  for (size_t k = 0; k < f->cols; k++)
    f->diag[k] = f->matrix[(size_t)f->perm[k] * f->cols + (size_t)f->perm[k]];
  return QL_STATUS_OK;
}

static ql_status fill_factor(ql_gptq_factor *f, const ql_stats *stats, const ql_gptq_config *c,
                             ql_error *error)
{
  if (f->tokens < c->min_tokens)
    return give_up(f, QL_GPTQ_STARVED, c, error);
  f->matrix = qli_alloc(f->ctx, f->cols * f->cols, sizeof *f->matrix);
  if (f->matrix == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a factor of %zu x %zu", f->cols,
                    f->cols);
  QLI_TRY(qli_hessian_into(f->ctx, stats, f->matrix, error));
  QLI_TRY(set_order(f, error));
  if (f->dead == f->cols)
    return give_up(f, QL_GPTQ_STARVED, c, error);
  /* The classical H is 2 / n times ours; its dead columns are 1 there. */
  f->dead_diag = (double)f->tokens / 2.0;
  return climb_damping(f, stats, c, error);
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
