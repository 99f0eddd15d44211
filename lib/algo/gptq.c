/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "gptq.h"

#include "checked.h"
#include "error.h"
#include "fpenv.h"
#include "qmat.h"
#include "registry.h"
#include "rtn.h"
#include "scale.h"
#include "sums.h"

#include <string.h>

/* One call. Rows are worked on in chunks, so that memory does not grow with their number. */
typedef struct {
  const qli_gptq_plan *plan;
  ql_qmat *q;
  qli_gptq_sums *sums; /* [rows] */
  bool search;         /* every row is also quantized on searched grids */
  qli_grid plain;      /* the grid without its search */
  qli_gptq_chunk chunk, searched;
} run;

static bool alloc_space(run *a)
{
  const qli_gptq_plan *plan = a->plan;
  const size_t cols = plan->factor->cols, groups = plan->grid->groups, rows = plan->chunk;
  const size_t points = groups * sizeof(qli_point);
  a->chunk.d = qli_alloc(plan->ctx, rows * sizeof(double), cols);
  a->chunk.points = qli_alloc(plan->ctx, rows, points);
  if (a->search) {
    a->searched.points = qli_alloc(plan->ctx, rows, points);
    a->searched.codes = qli_alloc(plan->ctx, rows, cols);
    a->searched.sums = qli_alloc(plan->ctx, rows, sizeof(qli_gptq_sums));
  }
  a->sums = qli_calloc(plan->ctx, plan->grid->rows, sizeof *a->sums);
  return a->chunk.d != NULL && a->chunk.points != NULL && a->sums != NULL &&
         (!a->search ||
          (a->searched.points != NULL && a->searched.codes != NULL && a->searched.sums != NULL));
}

static void free_space(run *a)
{
  const ql_ctx *ctx = a->plan->ctx;
  qli_free(ctx, a->chunk.d);
  qli_free(ctx, a->chunk.points);
  qli_free(ctx, a->searched.points);
  qli_free(ctx, a->searched.codes);
  qli_free(ctx, a->searched.sums);
  qli_free(ctx, a->sums);
}

static void begin_chunk(run *a, size_t row, bool want_proxy)
{
  const qli_gptq_plan *plan = a->plan;
  const size_t cols = plan->factor->cols;
  qli_gptq_chunk *c = &a->chunk;
  c->plan = plan;
  c->grid = a->search ? &a->plain : plan->grid;
  c->row = row;
  c->rows = qli_min_size(plan->chunk, plan->grid->rows - row);
  c->want_proxy = want_proxy;
  c->codes = a->q->codes + row * cols;
  c->sums = a->sums + row;
  qli_gptq_chunk *s = &a->searched;
  *s = (qli_gptq_chunk){plan, plan->grid, row, c->rows, false, c->d, s->points, s->codes, s->sums};
}

/* Rows whose loss the searched grid has made smaller. A range that was shrunk for the weights as
 * they are can be too small for what feedback makes of them: then the row stays as it was. */
static void take_better(run *a)
{
  const size_t cols = a->plan->factor->cols, groups = a->plan->grid->groups;
  const qli_gptq_chunk *c = &a->chunk, *s = &a->searched;
  for (size_t r = 0; r < c->rows; r++) {
    const qli_gptq_sums old = c->sums[r];
    const double defect = old.defect > s->sums[r].defect ? old.defect : s->sums[r].defect;
    if (s->sums[r].loss < old.loss) {
      c->sums[r] = s->sums[r];
      c->sums[r].proxy_ref = old.proxy_ref;
      memcpy(c->codes + r * cols, s->codes + r * cols, cols);
      for (size_t g = 0; g < groups; g++)
        c->points[g * c->rows + r] = s->points[g * c->rows + r];
    }
    c->sums[r].defect = defect;
  }
}

static void store_points(const run *a)
{
  const qli_gptq_chunk *c = &a->chunk;
  const qli_grid *g = a->plan->grid;
  for (size_t r = 0; r < c->rows; r++)
    for (size_t k = 0; k < g->groups; k++)
      qli_store_point(a->q, (c->row + r) * g->groups + k, c->points[k * c->rows + r]);
}

static ql_status run_chunk(run *a, uint64_t done, uint64_t total, qli_tile_result *failed,
                           ql_error *error)
{
  QLI_TRY(qli_gptq_chunk_run(&a->chunk, done, total, failed, error));
  QLI_TRY(qli_gptq_chunk_check(&a->chunk, error));
  if (a->search) {
    done += (uint64_t)a->chunk.rows * a->plan->factor->cols;
    QLI_TRY(qli_gptq_chunk_run(&a->searched, done, total, failed, error));
    QLI_TRY(qli_gptq_chunk_check(&a->searched, error));
    take_better(a);
  }
  store_points(a);
  return QL_STATUS_OK;
}

static ql_status run_all(run *a, bool want_proxy, ql_error *error)
{
  const qli_gptq_plan *plan = a->plan;
  const uint64_t row_work = (uint64_t)plan->factor->cols * (a->search ? 2 : 1);
  const uint64_t total = row_work * plan->grid->rows;
  qli_tile_result failed = {QL_STATUS_OK, -1, -1};
  for (size_t row = 0; row < plan->grid->rows; row += plan->chunk) {
    begin_chunk(a, row, want_proxy);
    const ql_status status = run_chunk(a, row_work * row, total, &failed, error);
    if (status == QL_STATUS_NUMERIC && failed.status == QL_STATUS_NUMERIC) {
      failed.col *= (int64_t)plan->grid->block_cols;
      return qli_fail_scale(plan->grid, &failed, error);
    }
    QLI_TRY(status);
  }
  return qli_progress(plan->ctx, "gptq", total, total, error);
}

static void sum_rows(const run *a, ql_gptq_report *report)
{
  for (size_t r = 0; r < a->plan->grid->rows; r++) {
    const qli_gptq_sums *s = &a->sums[r];
    const double proxy = s->loss - s->excess;
    report->loss += s->loss;
    report->proxy += proxy > 0.0 ? proxy : 0.0; /* below 0: rounding, the damping is all of it */
    report->proxy_ref += s->proxy_ref;
    report->sse += s->sse;
    report->sse_ref += s->sse_ref;
    report->loss_check = s->defect > report->loss_check ? s->defect : report->loss_check;
  }
}

ql_status qli_gptq_new_matrix(const qli_gptq_plan *plan, ql_qmat **out, ql_error *error)
{
  const ql_gptq_factor *f = plan->factor;
  ql_qmat_view view;
  ql_qmat *q = NULL;
  qli_grid_view(plan->grid, &view);
  view.perm = f->order != QL_GPTQ_ORDER_NATURAL ? f->perm : NULL;
  view.g_idx = f->order == QL_GPTQ_ORDER_ACT && plan->grid->groups > 1 ? f->perm : NULL;
  QLI_TRY(qli_qmat_new(plan->ctx, &view, &q, error));
  for (size_t k = 0; k < f->cols; k++) {
    if (q->perm != NULL)
      q->perm[k] = f->perm[k];
    if (q->g_idx != NULL)
      q->g_idx[f->perm[k]] = plan->group_of[k];
  }
  *out = q;
  return QL_STATUS_OK;
}

static ql_status quantize(const ql_ctx *ctx, const ql_tensor *w, const ql_gptq_factor *f,
                          const qli_grid *grid, const ql_gptq_config *config, bool want_proxy,
                          ql_qmat **out, ql_gptq_report *report, ql_error *error)
{
  qli_gptq_plan plan;
  run a = {.plan = &plan, .plain = *grid};
  ql_status status = qli_gptq_plan_make(ctx, w, f, grid, config, &plan, error);
  a.search = grid->mse_norm > 0.0 && (grid->flags & QL_GRID_CLASSICAL) == 0;
  a.plain.mse_norm = 0.0;
  if (status == QL_STATUS_OK)
    status = qli_gptq_new_matrix(&plan, &a.q, error);
  if (status == QL_STATUS_OK && !alloc_space(&a))
    status = qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to quantize %zu rows of %zu columns",
                      plan.chunk, f->cols);
  if (status == QL_STATUS_OK)
    status = run_all(&a, want_proxy, error);
  if (status == QL_STATUS_OK) {
    sum_rows(&a, report);
    *out = a.q;
  } else {
    ql_qmat_destroy(a.q);
  }
  free_space(&a);
  qli_gptq_plan_free(&plan);
  return status;
}

ql_status qli_gptq_round_instead(const ql_ctx *ctx, const ql_tensor *w, const qli_grid *grid,
                                 ql_qmat **out, ql_gptq_report *report, ql_error *error)
{
  ql_qmat *q = NULL;
  qli_log(ctx, QL_LOG_WARNING, "gptq: weights of %zu x %zu were rounded to nearest, not calibrated",
          grid->rows, grid->cols);
  QLI_TRY(qli_rtn(ctx, w, grid, NULL, &q, error));
  const ql_status status =
      qli_square_error(ctx, &q->view, w, &report->sse, &report->sse_ref, error);
  if (status == QL_STATUS_OK)
    *out = q;
  else
    ql_qmat_destroy(q);
  return status;
}

ql_status qli_gptq_check_fit(const ql_gptq_factor *f, const qli_grid *g, const ql_gptq_config *c,
                             ql_error *error)
{
  if (g->cols != f->cols)
    return qli_fail(error, QL_STATUS_SHAPE, "a factor of %zu columns for weights of %zu", f->cols,
                    g->cols);
  if (g->block_rows != 1)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "GPTQ needs scales of their own for each row, not for %zu rows", g->block_rows);
  if (c->order != f->order)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "order %d, but the factor has order %d",
                    (int)c->order, (int)f->order);
  if (f->order == QL_GPTQ_ORDER_GROUP_AWARE && g->block_cols != f->group)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "groups of %zu columns, but the factor was ordered for groups of %zu",
                    g->block_cols, f->group);
  return QL_STATUS_OK;
}

/* The caller's report may be longer or shorter than ours, never shorter than the first one. */
static ql_status check_report(const ql_gptq_report *report, ql_error *error)
{
  if (report != NULL && report->struct_size < sizeof *report)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "ql_gptq_report.struct_size is not that of QL_GPTQ_REPORT_INIT");
  return QL_STATUS_OK;
}

ql_status ql_gptq_run_factored(const ql_ctx *ctx, const ql_tensor *w, const ql_gptq_factor *factor,
                               const ql_grid_config *grid, const ql_gptq_config *config,
                               ql_qmat **out, ql_gptq_report *report, ql_error *error)
{
  ql_gptq_config c;
  qli_grid g;
  if (ctx == NULL || factor == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, factor or out is NULL");
  QLI_TRY(check_report(report, error));
  QLI_TRY(qli_gptq_config_check(config, &c, error));
  QLI_TRY(qli_check_weights(ctx, w, error));
  QLI_TRY(qli_grid_resolve(grid, w->shape[0], w->shape[1], &g, error));
  QLI_TRY(qli_gptq_check_fit(factor, &g, &c, error));
  ql_gptq_report r = QL_GPTQ_REPORT_INIT;
  r.outcome = factor->outcome;
  r.retries = factor->retries;
  r.damp = factor->damp;
  r.tokens = factor->tokens;
  r.dead = factor->dead;
  const qli_fpenv saved = qli_fpenv_enter();
  const ql_status status = qli_factor_serves(factor)
                               ? quantize(ctx, w, factor, &g, &c, report != NULL, out, &r, error)
                               : qli_gptq_round_instead(ctx, w, &g, out, &r, error);
  qli_fpenv_leave(saved);
  if (status == QL_STATUS_OK && report != NULL) {
    r.struct_size = report->struct_size;
    *report = r;
  }
  return status;
}

ql_status ql_gptq_run(const ql_ctx *ctx, const ql_tensor *w, const ql_stats *stats,
                      const ql_grid_config *grid, const ql_gptq_config *config, ql_qmat **out,
                      ql_gptq_report *report, ql_error *error)
{
  ql_gptq_config c;
  qli_grid g;
  ql_gptq_factor *factor = NULL;
  if (ctx == NULL || stats == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, stats or out is NULL");
  QLI_TRY(qli_gptq_config_check(config, &c, error));
  QLI_TRY(qli_check_weights(ctx, w, error));
  QLI_TRY(qli_grid_resolve(grid, w->shape[0], w->shape[1], &g, error));
  if ((g.flags & QL_GRID_CLASSICAL) != 0)
    c.classical = 1;
  QLI_TRY(ql_gptq_factor_create(ctx, stats, g.block_cols, &c, &factor, error));
  const ql_status status = ql_gptq_run_factored(ctx, w, factor, grid, &c, out, report, error);
  ql_gptq_factor_destroy(factor);
  return status;
}

static ql_status factor_by_name(const ql_ctx *ctx, const ql_stats *stats, size_t group,
                                const void *config, ql_gptq_factor **out, ql_error *error)
{
  return ql_gptq_factor_create(ctx, stats, group, config, out, error);
}

static ql_status run_by_name(const ql_ctx *ctx, const ql_algo_input *input, const void *config,
                             ql_qmat **out, ql_gptq_report *report, ql_error *error)
{
  ql_gptq_config c = *(const ql_gptq_config *)config;
  const ql_tensor *w = input->target != NULL ? input->target : input->w;
  c.seed = input->seed;
  if (input->factor != NULL)
    return ql_gptq_run_factored(ctx, w, input->factor, input->grid, &c, out, report, error);
  return ql_gptq_run(ctx, w, input->stats, input->grid, &c, out, report, error);
}

#define O(member) offsetof(ql_gptq_config, member)

static const qli_algo_option options[] = {
    {"order", QLI_OPTION_CHOICE, O(order), 0, 0, "none|act|static|group-aware",
     "Order in which columns are taken. act: the most active first, which costs an index when run; "
     "static: the same with groups left in place; group-aware: whole groups, the most active "
     "first, at no cost when run."},
    {"damp", QLI_OPTION_DOUBLE, O(damp), 0, 1, NULL,
     "Damping, relative to the mean of the Hessian's diagonal."},
    {"block", QLI_OPTION_SIZE, O(block), 1, 4096, NULL, "Columns per lazy update."},
    {"static-grids", QLI_OPTION_INT32, O(static_grids), 0, 1, NULL,
     "1: the grids of all groups come from the original weights."},
    {"dead-keep", QLI_OPTION_INT32, O(dead_keep), 0, 1, NULL,
     "1: columns that never saw input are rounded; 0: they become 0."},
    {0},
};

static const ql_gptq_config preset = QL_GPTQ_CONFIG_INIT;

const qli_algo_row qli_algo_gptq = {
    .name = "gptq",
    .summary = "Makes up for the error of each column in the columns after it, so that outputs on "
               "calibration text change little.",
    .source = "arXiv 2210.17323",
    .needs = QL_STATS_HESSIAN,
    .takes_target = 1,
    .config_size = sizeof preset,
    .preset = &preset,
    .options = options,
    .factor = factor_by_name,
    .run = run_by_name,
};
