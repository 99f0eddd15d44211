/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "gptq.h"

#include "checked.h"
#include "error.h"
#include "linalg.h"
#include "rng.h"

#include <math.h>
#include <string.h>

enum { CHECKED_ROWS = 32, PANEL = 128, LANES = 16, TILE = QLI_GPTQ_TILE };

static const double tolerance = 1e-3;

/* --- w H w^T of every row, from H below the diagonal of the factor's matrix --- */

typedef struct {
  qli_gptq_chunk *chunk;
  size_t first, end;
  double *p; /* [rows][PANEL] */
} panel;

/* p holds, for each column j of the panel, the sum over i < j of w_i H_ij. */
static void add_reference(void *arg, size_t tile, size_t worker)
{
  const panel *a = arg;
  qli_gptq_chunk *c = a->chunk;
  const qli_gptq_plan *plan = c->plan;
  const size_t end = qli_min_size(c->rows, (tile + 1) * TILE);
  (void)worker;
  for (size_t r = tile * TILE; r < end; r++) {
    double sum = 0.0;
    for (size_t j = a->first; j < a->end; j++) {
      const double w = c->d[j * c->rows + r];
      sum += w * (2.0 * a->p[r * PANEL + (j - a->first)] + plan->factor->diag[j] * w);
    }
    c->sums[r].proxy_ref += sum;
  }
}

/* The strict upper triangle of H within the panel; zeros elsewhere. */
static void copy_upper(const qli_gptq_plan *plan, size_t first, size_t n)
{
  const size_t cols = plan->factor->cols;
  memset(plan->upper, 0, n * n * sizeof *plan->upper);
  for (size_t j = 0; j < n; j++)
    for (size_t i = 0; i < j; i++)
      plan->upper[i * n + j] = plan->factor->matrix[(first + j) * cols + first + i];
}

static ql_status reference_panel(panel *a, ql_error *error)
{
  qli_gptq_chunk *c = a->chunk;
  const qli_gptq_plan *plan = c->plan;
  const size_t cols = plan->factor->cols, n = a->end - a->first;
  const qli_view_f64 before = {c->d, 1, c->rows};
  const qli_view_f64 within = {c->d + a->first * c->rows, 1, c->rows};
  const qli_view_f64 h = {plan->factor->matrix + a->first * cols, 1, cols};
  memset(a->p, 0, c->rows * PANEL * sizeof *a->p);
  /* A figure of the report alone, right to seven digits either way. */
  QLI_TRY((cols > QLI_GPTQ_EXACT ? qli_gemm_narrow : qli_gemm_f64)(
      plan->ctx, QLI_ADD, c->rows, n, a->first, before, h, a->p, PANEL, error));
  copy_upper(plan, a->first, n);
  QLI_TRY(qli_gemm_f64(plan->ctx, QLI_ADD, c->rows, n, n, within, (qli_view_f64){plan->upper, n, 1},
                       a->p, PANEL, error));
  qli_parallel_for(plan->ctx, qli_ceil_div(c->rows, TILE), add_reference, a);
  return QL_STATUS_OK;
}

ql_status qli_gptq_chunk_reference(qli_gptq_chunk *chunk, ql_error *error)
{
  const ql_ctx *ctx = chunk->plan->ctx;
  const size_t cols = chunk->plan->factor->cols;
  panel a = {.chunk = chunk, .p = qli_alloc(ctx, chunk->rows, PANEL * sizeof *a.p)};
  if (a.p == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for sums of %zu rows", chunk->rows);
  ql_status status = QL_STATUS_OK;
  for (; status == QL_STATUS_OK && a.first < cols; a.first = a.end) {
    a.end = a.first + qli_min_size(PANEL, cols - a.first);
    status = reference_panel(&a, error);
  }
  qli_free(ctx, a.p);
  return status;
}

/* --- the loss identity --- */

typedef struct {
  const qli_gptq_chunk *chunk;
  size_t rows[CHECKED_ROWS];
  size_t count;
  double *delta; /* [CHECKED_ROWS][cols] */
  double *parts; /* [blocks of columns][CHECKED_ROWS] */
} check;

/* The share of columns first..end in delta H~ delta^T, by H itself, in no way through R. */
static double damped_part(const ql_gptq_factor *f, size_t i, const double *delta)
{
  const double *h = f->matrix + i * f->cols;
  double lanes[LANES] = {0.0}, sum = 0.0;
  size_t k = 0;
  for (; k + LANES <= i; k += LANES)
    for (size_t lane = 0; lane < LANES; lane++)
      lanes[lane] += h[k + lane] * delta[k + lane];
  for (; k < i; k++)
    sum += h[k] * delta[k];
  for (size_t lane = 0; lane < LANES; lane++)
    sum += lanes[lane];
  return delta[i] * (2.0 * sum + (f->diag[i] + qli_factor_excess(f, i)) * delta[i]);
}

/* One block of rows of H for all checked rows, so that H is read once. */
static void check_block(void *arg, size_t block, size_t worker)
{
  const check *a = arg;
  const ql_gptq_factor *f = a->chunk->plan->factor;
  const size_t end = qli_min_size((block + 1) * PANEL, f->cols);
  double *parts = a->parts + block * CHECKED_ROWS;
  (void)worker;
  for (size_t i = block * PANEL; i < end; i++)
    for (size_t r = 0; r < a->count; r++)
      parts[r] += damped_part(f, i, a->delta + r * f->cols);
}

static void check_rows(const check *a)
{
  const qli_gptq_chunk *c = a->chunk;
  const size_t cols = c->plan->factor->cols, blocks = qli_ceil_div(cols, PANEL);
  for (size_t r = 0; r < a->count; r++)
    for (size_t k = 0; k < cols; k++)
      a->delta[r * cols + k] = c->d[k * c->rows + a->rows[r]];
  qli_parallel_for(c->plan->ctx, blocks, check_block, (void *)(uintptr_t)a);
  for (size_t r = 0; r < a->count; r++) {
    qli_gptq_sums *sums = &c->sums[a->rows[r]];
    double direct = 0.0;
    for (size_t b = 0; b < blocks; b++)
      direct += a->parts[b * CHECKED_ROWS + r];
    const double larger = fabs(direct) > sums->loss ? fabs(direct) : sums->loss;
    /* Where every weight is on its grid the loss is made of rounding errors alone. */
    const double floor = 1e-20 * c->plan->factor->trace * sums->sse_ref;
    const double defect = fabs(direct - sums->loss) / (larger > floor ? larger : floor);
    sums->defect = larger <= floor ? 0.0 : defect;
  }
}

static void choose_rows(check *a)
{
  const qli_gptq_chunk *c = a->chunk;
  const size_t all = c->plan->grid->rows;
  for (size_t i = 0; i < CHECKED_ROWS && i < all; i++) {
    const size_t row =
        all <= CHECKED_ROWS ? i : (size_t)(qli_random_u64(c->plan->config.seed, i) % all);
    bool is_new = row >= c->row && row - c->row < c->rows;
    for (size_t k = 0; k < a->count; k++)
      is_new = is_new && a->rows[k] != row - c->row;
    if (is_new)
      a->rows[a->count++] = row - c->row;
  }
}

static ql_status report_defects(const check *a, ql_error *error)
{
  const qli_gptq_chunk *c = a->chunk;
  for (size_t i = 0; i < a->count; i++) {
    const qli_gptq_sums *sums = &c->sums[a->rows[i]];
    if (sums->defect <= tolerance)
      continue;
    qli_fail(error, QL_STATUS_SELF_CHECK,
             "row %zu: the loss %g of the feedback differs from that of the Hessian by %g of it",
             c->row + a->rows[i], sums->loss, sums->defect);
    qli_error_at(error, (int64_t)(c->row + a->rows[i]), -1);
    qli_error_hint(error, "the Hessian is too badly conditioned for this damping: raise damp");
    return QL_STATUS_SELF_CHECK;
  }
  return QL_STATUS_OK;
}

ql_status qli_gptq_chunk_check(const qli_gptq_chunk *chunk, ql_error *error)
{
  const ql_ctx *ctx = chunk->plan->ctx;
  const size_t cols = chunk->plan->factor->cols;
  check a = {.chunk = chunk};
  choose_rows(&a);
  a.delta = qli_alloc(ctx, CHECKED_ROWS * sizeof *a.delta, cols);
  a.parts = qli_calloc(ctx, CHECKED_ROWS * sizeof *a.parts, qli_ceil_div(cols, PANEL));
  ql_status status = QL_STATUS_OK;
  if (a.delta == NULL || a.parts == NULL) {
    status = qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to check the loss");
  } else {
    check_rows(&a);
    status = report_defects(&a, error);
  }
  qli_free(ctx, a.delta);
  qli_free(ctx, a.parts);
  return status;
}
