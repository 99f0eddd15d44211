/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "solve.h"

#include "checked.h"
#include "error.h"
#include "fpenv.h"
#include "qmat.h"
#include "rtn.h"
#include "scale.h"
#include "sums.h"

#include <math.h>
#include <string.h>

enum { TILE = QLI_SOLVE_TILE };

/* Sums of one row. */
typedef struct {
  double loss, proxy, proxy_ref, defect;
  bool searched, walked;
} row_sums;

/* One call. Chunks of rows go through all steps one after the other. */
typedef struct {
  const qli_solve_plan *plan;
  const qli_grid *searched_grid;
  ql_qmat *q;
  bool search;
  double *space;                  /* d of both chunks below */
  qli_gptq_chunk plain, searched; /* GPTQ on the grids of the ranges and on searched ones */
  qli_solve_chunk rounds;
  row_sums *sums; /* [rows] */
  int32_t most_rounds;
  uint64_t moves;
  double gain;
} run;

/* --- space --- */

static bool alloc_gptq(run *a, qli_gptq_chunk *c)
{
  const qli_gptq_plan *g = a->plan->gptq;
  c->points = qli_alloc(g->ctx, g->chunk, g->grid->groups * sizeof *c->points);
  c->codes = qli_alloc(g->ctx, g->chunk, g->factor->cols);
  c->sums = qli_alloc(g->ctx, g->chunk, sizeof *c->sums);
  return c->points != NULL && c->codes != NULL && c->sums != NULL;
}

static bool alloc_rounds(run *a)
{
  const qli_solve_plan *plan = a->plan;
  const ql_ctx *ctx = plan->ctx;
  qli_solve_chunk *c = &a->rounds;
  const size_t rows = plan->gptq->chunk, cols = plan->factor->cols;
  const size_t tiles = qli_ceil_div(rows, TILE);
  c->plan = plan;
  c->d = qli_alloc(ctx, rows, cols * sizeof *c->d);
  c->p = qli_alloc(ctx, rows, cols * sizeof *c->p);
  c->e = qli_alloc(ctx, rows, plan->block_max * sizeof *c->e);
  c->codes = qli_alloc(ctx, rows, cols);
  c->scratch = qli_alloc(ctx, ql_ctx_workers(ctx), plan->scratch * sizeof *c->scratch);
  c->moves = qli_calloc(ctx, tiles, sizeof *c->moves);
  c->gains = qli_calloc(ctx, tiles, sizeof *c->gains);
  return c->d != NULL && c->p != NULL && c->e != NULL && c->codes != NULL && c->scratch != NULL &&
         c->moves != NULL && c->gains != NULL;
}

static bool alloc_space(run *a)
{
  const qli_gptq_plan *g = a->plan->gptq;
  a->space = qli_alloc(g->ctx, g->chunk * sizeof(double), g->factor->cols);
  a->sums = qli_calloc(g->ctx, g->grid->rows, sizeof *a->sums);
  return a->space != NULL && a->sums != NULL && alloc_gptq(a, &a->plain) &&
         (!a->search || alloc_gptq(a, &a->searched)) && alloc_rounds(a);
}

static void free_gptq(const ql_ctx *ctx, const qli_gptq_chunk *c)
{
  qli_free(ctx, c->points);
  qli_free(ctx, c->codes);
  qli_free(ctx, c->sums);
}

static void free_space(run *a)
{
  const ql_ctx *ctx = a->plan->ctx;
  const qli_solve_chunk *c = &a->rounds;
  free_gptq(ctx, &a->plain);
  free_gptq(ctx, &a->searched);
  qli_free(ctx, a->space);
  qli_free(ctx, a->sums);
  qli_free(ctx, c->d);
  qli_free(ctx, c->p);
  qli_free(ctx, c->e);
  qli_free(ctx, c->codes);
  qli_free(ctx, c->scratch);
  qli_free(ctx, c->moves);
  qli_free(ctx, c->gains);
}

/* --- the start: GPTQ --- */

static void begin_gptq(const run *a, qli_gptq_chunk *c, const qli_grid *grid, size_t row)
{
  const qli_gptq_plan *g = a->plan->gptq;
  c->plan = g;
  c->grid = grid;
  c->row = row;
  c->rows = qli_min_size(g->chunk, g->grid->rows - row);
  c->d = a->space;
}

/* Rows whose loss the searched grid has made smaller. A range that was shrunk for the weights as
 * they are can be too small for what feedback makes of them: then the row stays as it was. */
static void take_better(run *a)
{
  const size_t cols = a->plan->factor->cols, groups = a->plan->grid->groups;
  const qli_gptq_chunk *c = &a->plain, *s = &a->searched;
  for (size_t r = 0; r < c->rows; r++) {
    const double proxy_ref = c->sums[r].proxy_ref;
    if (!(s->sums[r].loss < c->sums[r].loss))
      continue;
    a->sums[c->row + r].searched = true;
    c->sums[r] = s->sums[r];
    c->sums[r].proxy_ref = proxy_ref;
    memcpy(c->codes + r * cols, s->codes + r * cols, cols);
    for (size_t g = 0; g < groups; g++)
      c->points[g * c->rows + r] = s->points[g * c->rows + r];
  }
}

static ql_status start_chunk(run *a, size_t row, uint64_t done, uint64_t total,
                             qli_tile_result *failed, ql_error *error)
{
  begin_gptq(a, &a->plain, a->plan->grid, row);
  QLI_TRY(qli_gptq_chunk_run(&a->plain, done, total, failed, error));
  QLI_TRY(qli_gptq_chunk_check(&a->plain, error));
  if (!a->search)
    return QL_STATUS_OK;
  begin_gptq(a, &a->searched, a->searched_grid, row);
  done += (uint64_t)a->plain.rows * a->plan->grid->cols;
  QLI_TRY(qli_gptq_chunk_run(&a->searched, done, total, failed, error));
  QLI_TRY(qli_gptq_chunk_check(&a->searched, error));
  take_better(a);
  return QL_STATUS_OK;
}

/* Beam or Klein on the grids that the start has found. */
static ql_status walk_chunk(run *a, ql_error *error)
{
  const ql_solve_config *c = &a->plan->config;
  qli_solve_paths job = {.chunk = &a->plain,
                         .paths = (size_t)(c->klein > 0 ? c->klein : c->beam),
                         .klein = c->klein > 0,
                         .temperature = c->temperature,
                         .seed = c->seed};
  if (job.paths <= 1)
    return QL_STATUS_OK;
  job.taken = qli_calloc(a->plan->ctx, a->plain.rows, sizeof *job.taken);
  if (job.taken == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu rows", a->plain.rows);
  const ql_status status = qli_solve_walk(&job, error);
  for (size_t r = 0; r < a->plain.rows; r++)
    a->sums[a->plain.row + r].walked = job.taken[r];
  qli_free(a->plan->ctx, job.taken);
  return status;
}

/* --- the rounds --- */

/* Target less values in the order of the rounds, codes and points. */
static void load_row(void *arg, size_t r, size_t worker)
{
  const run *a = arg;
  const qli_solve_chunk *c = &a->rounds;
  const qli_solve_plan *plan = c->plan;
  const size_t cols = plan->factor->cols;
  const uint8_t *codes = a->plain.codes + r * cols;
  double *w = a->space + r * cols;
  (void)worker;
  qli_weight_row(plan->gptq->w, c->row + r, w);
  for (size_t i = 0; i < cols; i++) {
    const size_t col = (size_t)plan->column[i];
    const bool cleared = plan->gram[i * (cols + 1)] == 0.0 && plan->config.dead_keep == 0;
    const qli_point point = c->points[i / plan->grid->block_cols * c->rows + r];
    c->codes[i * c->rows + r] = codes[col];
    c->d[i * c->rows + r] = (cleared ? 0.0 : w[col]) - qli_grid_value(point, codes[col]);
  }
}

static void store_row(void *arg, size_t r, size_t worker)
{
  const run *a = arg;
  const qli_solve_chunk *c = &a->rounds;
  const size_t cols = c->plan->factor->cols;
  (void)worker;
  for (size_t i = 0; i < cols; i++)
    a->plain.codes[r * cols + (size_t)c->plan->column[i]] = c->codes[i * c->rows + r];
}

/* The sums of a row after the rounds, also as the check of GPTQ wants them. */
static void sum_row(void *arg, size_t r, size_t worker)
{
  const run *a = arg;
  const qli_solve_chunk *c = &a->rounds;
  const qli_solve_plan *plan = c->plan;
  const size_t cols = plan->factor->cols;
  qli_gptq_sums *sums = &a->plain.sums[r];
  double loss = 0.0, live = 0.0, excess = 0.0, sse = 0.0;
  (void)worker;
  for (size_t i = 0; i < cols; i++) {
    const size_t k = (size_t)plan->gptq->members[i];
    const double d = c->d[i * c->rows + r];
    loss += d * c->p[i * c->rows + r];
    live += plan->gram[i * (cols + 1)] > 0.0 ? d * d : 0.0;
    excess += qli_factor_excess(plan->factor, k) * d * d;
    sse += d * d;
    a->plain.d[k * c->rows + r] = d;
  }
  if (plan->config.rounds == 0)
    loss = sums->loss - excess + plan->lambda * live;
  sums->loss = loss - plan->lambda * live + excess;
  sums->excess = excess;
  sums->sse = sse;
  a->sums[c->row + r].loss = loss;
}

static ql_status improve_chunk(run *a, uint64_t done, uint64_t total, ql_error *error)
{
  qli_solve_chunk *c = &a->rounds;
  const ql_ctx *ctx = a->plan->ctx;
  const size_t tiles = qli_ceil_div(a->plain.rows, TILE);
  c->row = a->plain.row;
  c->rows = a->plain.rows;
  c->points = a->plain.points;
  memset(c->moves, 0, tiles * sizeof *c->moves);
  memset(c->gains, 0, tiles * sizeof *c->gains);
  qli_parallel_for(ctx, c->rows, load_row, a);
  if (a->plan->config.rounds > 0)
    QLI_TRY(qli_solve_rounds(c, &a->most_rounds, done, total, error));
  qli_parallel_for(ctx, c->rows, store_row, a);
  qli_parallel_for(ctx, c->rows, sum_row, a);
  for (size_t i = 0; i < tiles; i++) {
    a->moves += c->moves[i];
    a->gain += c->gains[i];
  }
  return qli_gptq_chunk_check(&a->plain, error);
}

/* --- all rows --- */

static void store_chunk(run *a)
{
  const qli_gptq_chunk *c = &a->plain;
  const qli_grid *g = a->plan->grid;
  memcpy(a->q->codes + c->row * g->cols, c->codes, c->rows * g->cols);
  for (size_t r = 0; r < c->rows; r++) {
    row_sums *sums = &a->sums[c->row + r];
    sums->proxy = c->sums[r].loss - c->sums[r].excess;
    sums->proxy_ref = c->sums[r].proxy_ref;
    sums->defect = c->sums[r].defect;
    for (size_t k = 0; k < g->groups; k++)
      qli_store_point(a->q, (c->row + r) * g->groups + k, c->points[k * c->rows + r]);
  }
}

static ql_status run_chunk(run *a, size_t row, uint64_t total, qli_tile_result *failed,
                           ql_error *error)
{
  const qli_grid *g = a->plan->grid;
  const uint64_t row_work = total / g->rows, runs = a->search ? 2 : 1;
  const uint64_t done = row_work * row;
  QLI_TRY(start_chunk(a, row, done, total, failed, error));
  QLI_TRY(walk_chunk(a, error));
  QLI_TRY(improve_chunk(a, done + runs * g->cols * a->plain.rows, total, error));
  store_chunk(a);
  return QL_STATUS_OK;
}

static ql_status run_all(run *a, bool want_proxy, ql_error *error)
{
  const qli_solve_plan *plan = a->plan;
  const qli_grid *g = plan->grid;
  const uint64_t passes = (a->search ? 2u : 1u) + (uint64_t)plan->config.rounds;
  const uint64_t total = passes * g->cols * g->rows;
  qli_tile_result failed = {QL_STATUS_OK, -1, -1};
  a->plain.want_proxy = want_proxy;
  for (size_t row = 0; row < g->rows; row += plan->gptq->chunk) {
    const ql_status status = run_chunk(a, row, total, &failed, error);
    if (status == QL_STATUS_NUMERIC && failed.status == QL_STATUS_NUMERIC) {
      failed.col *= (int64_t)g->block_cols;
      return qli_fail_scale(g, &failed, error);
    }
    QLI_TRY(status);
  }
  return qli_progress(plan->ctx, "solve", total, total, error);
}

static void fill_report(const run *a, ql_solve_report *report)
{
  for (size_t r = 0; r < a->plan->grid->rows; r++) {
    const row_sums *s = &a->sums[r];
    report->loss += s->loss;
    report->proxy += s->proxy > 0.0 ? s->proxy : 0.0;
    report->proxy_ref += s->proxy_ref;
    report->loss_check = s->defect > report->loss_check ? s->defect : report->loss_check;
    report->searched += s->searched;
    report->walked += s->walked;
  }
  report->loss_start = report->loss + a->gain;
  report->moves = a->moves;
  report->rounds = a->most_rounds;
}

static ql_status solve(run *a, bool want_proxy, ql_qmat **out, ql_solve_report *report,
                       ql_error *error)
{
  const qli_solve_plan *plan = a->plan;
  QLI_TRY(qli_gptq_new_matrix(plan->gptq, &a->q, error));
  if (!alloc_space(a))
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to solve %zu rows of %zu columns",
                    plan->gptq->chunk, plan->factor->cols);
  QLI_TRY(run_all(a, want_proxy, error));
  fill_report(a, report);
  *out = a->q;
  return QL_STATUS_OK;
}

static ql_status quantize(const ql_ctx *ctx, const ql_tensor *target, const ql_gptq_factor *f,
                          const qli_grid *grid, const ql_solve_config *config, bool want_proxy,
                          ql_qmat **out, ql_solve_report *report, ql_error *error)
{
  const ql_gptq_config options = qli_solve_gptq_config(config);
  qli_grid plain = *grid, searched = *grid;
  qli_gptq_plan gptq;
  qli_solve_plan plan;
  run a = {.plan = &plan, .searched_grid = &searched};
  plain.mse_norm = 0.0;
  searched.mse_norm = 2.0;
  a.search = config->search == QL_SOLVE_SEARCH_PIVOT;
  memset(&plan, 0, sizeof plan);
  plan.ctx = ctx;
  ql_status status = qli_gptq_plan_make(ctx, target, f, &plain, &options, &gptq, error);
  if (status == QL_STATUS_OK)
    status = qli_solve_plan_make(&gptq, config, &plan, error);
  if (status == QL_STATUS_OK)
    status = solve(&a, want_proxy, out, report, error);
  if (status != QL_STATUS_OK)
    ql_qmat_destroy(a.q);
  free_space(&a);
  qli_solve_plan_free(&plan);
  qli_gptq_plan_free(&gptq);
  return status;
}

/* --- the calls --- */

static ql_status check_target(const ql_ctx *ctx, const ql_tensor *w, const ql_tensor *target,
                              ql_error *error)
{
  if (target == NULL || target == w)
    return QL_STATUS_OK;
  QLI_TRY(qli_check_weights(ctx, target, error));
  if (target->shape[0] != w->shape[0] || target->shape[1] != w->shape[1])
    return qli_fail(error, QL_STATUS_SHAPE, "a target of %zu x %zu for weights of %zu x %zu",
                    target->shape[0], target->shape[1], w->shape[0], w->shape[1]);
  return QL_STATUS_OK;
}

static ql_status check_grid(const qli_grid *g, ql_error *error)
{
  if ((g->flags & QL_GRID_CLASSICAL) != 0)
    return qli_fail(error, QL_STATUS_UNSUPPORTED,
                    "the classical grid computes codes in f32 and has no exact loss to descend: "
                    "use ql_gptq_run");
  return QL_STATUS_OK;
}

static ql_status check_report(const ql_solve_report *report, ql_error *error)
{
  if (report != NULL && report->struct_size < sizeof *report)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "ql_solve_report.struct_size is not that of QL_SOLVE_REPORT_INIT");
  return QL_STATUS_OK;
}

static ql_status round_instead(const ql_ctx *ctx, const ql_tensor *target, const qli_grid *grid,
                               ql_qmat **out, ql_error *error)
{
  ql_gptq_report ignored = QL_GPTQ_REPORT_INIT;
  return qli_gptq_round_instead(ctx, target, grid, out, &ignored, error);
}

static ql_status run_checked(const ql_ctx *ctx, const ql_tensor *w, const ql_tensor *target,
                             const ql_gptq_factor *factor, const qli_grid *grid,
                             const ql_solve_config *config, bool want_proxy, ql_qmat **out,
                             ql_solve_report *report, ql_error *error)
{
  ql_qmat *q = NULL;
  if (qli_factor_serves(factor))
    QLI_TRY(quantize(ctx, target, factor, grid, config, want_proxy, &q, report, error));
  else
    QLI_TRY(round_instead(ctx, target, grid, &q, error));
  const ql_status status =
      qli_square_error(ctx, &q->view, w, &report->sse, &report->sse_ref, error);
  if (status == QL_STATUS_OK)
    *out = q;
  else
    ql_qmat_destroy(q);
  return status;
}

ql_status ql_solve_run_factored(const ql_ctx *ctx, const ql_tensor *w, const ql_tensor *target,
                                const ql_gptq_factor *factor, const ql_grid_config *grid,
                                const ql_solve_config *config, ql_qmat **out,
                                ql_solve_report *report, ql_error *error)
{
  ql_solve_config c;
  qli_grid g;
  if (ctx == NULL || factor == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, factor or out is NULL");
  QLI_TRY(check_report(report, error));
  QLI_TRY(qli_solve_config_check(config, &c, error));
  QLI_TRY(qli_check_weights(ctx, w, error));
  QLI_TRY(check_target(ctx, w, target, error));
  QLI_TRY(qli_grid_resolve(grid, w->shape[0], w->shape[1], &g, error));
  QLI_TRY(check_grid(&g, error));
  const ql_gptq_config options = qli_solve_gptq_config(&c);
  QLI_TRY(qli_gptq_check_fit(factor, &g, &options, error));
  ql_solve_report r = QL_SOLVE_REPORT_INIT;
  r.outcome = factor->outcome;
  r.retries = factor->retries;
  r.damp = factor->damp;
  r.tokens = factor->tokens;
  r.dead = factor->dead;
  const qli_fpenv saved = qli_fpenv_enter();
  const ql_status status = run_checked(ctx, w, target != NULL ? target : w, factor, &g, &c,
                                       report != NULL, out, &r, error);
  qli_fpenv_leave(saved);
  if (status == QL_STATUS_OK && report != NULL) {
    r.struct_size = report->struct_size;
    *report = r;
  }
  return status;
}

ql_status ql_solve_run(const ql_ctx *ctx, const ql_tensor *w, const ql_tensor *target,
                       const ql_stats *stats, const ql_grid_config *grid,
                       const ql_solve_config *config, ql_qmat **out, ql_solve_report *report,
                       ql_error *error)
{
  ql_solve_config c;
  qli_grid g;
  ql_gptq_factor *factor = NULL;
  if (ctx == NULL || stats == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, stats or out is NULL");
  QLI_TRY(qli_solve_config_check(config, &c, error));
  QLI_TRY(qli_check_weights(ctx, w, error));
  QLI_TRY(qli_grid_resolve(grid, w->shape[0], w->shape[1], &g, error));
  QLI_TRY(check_grid(&g, error));
  const ql_gptq_config options = qli_solve_gptq_config(&c);
  QLI_TRY(ql_gptq_factor_create(ctx, stats, g.block_cols, &options, &factor, error));
  const ql_status status =
      ql_solve_run_factored(ctx, w, target, factor, grid, config, out, report, error);
  ql_gptq_factor_destroy(factor);
  return status;
}
