/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "solve.h"

#include "checked.h"
#include "error.h"
#include "linalg.h"

#include <string.h>

enum { TILE = QLI_SOLVE_TILE };

/* A pass that gains less than this part of the loss is the last one. */
static const double enough = 1e-4;

/* A change must gain more than this part of what it moves: ties and rounding errors keep the old
 * code, so that the loss falls with each change and the rounds end. */
static const double tie = 1e-9;

void qli_solve_by_root(size_t n, const double *root, double *y)
{
  for (size_t i = n; i-- > 0;) { /* R a = y, from the last row */
    const double *row = root + i * n;
    for (size_t j = i + 1; j < n; j++)
      for (size_t r = 0; r < TILE; r++)
        y[i * TILE + r] -= row[j] * y[j * TILE + r];
    for (size_t r = 0; r < TILE; r++)
      y[i * TILE + r] /= row[i];
  }
  for (size_t i = 0; i < n; i++) { /* R^T y = a, from the first */
    const double *row = root + i * n;
    for (size_t r = 0; r < TILE; r++)
      y[i * TILE + r] /= row[i];
    for (size_t j = i + 1; j < n; j++)
      for (size_t r = 0; r < TILE; r++)
        y[j * TILE + r] -= row[j] * y[i * TILE + r];
  }
}

void qli_solve_move(const qli_solve_tile *t, size_t i, const double *dq)
{
  const qli_solve_chunk *c = t->chunk;
  const double *g = c->plan->gram + i * c->plan->factor->cols;
  double *d = c->d + i * c->rows + t->row, *e = c->e + (i - t->first) * c->rows + t->row;
  for (size_t r = 0; r < t->rows; r++) {
    d[r] -= dq[r];
    e[r] += dq[r];
  }
  for (size_t j = t->first; j < t->end; j++) {
    double *p = c->p + j * c->rows + t->row;
    for (size_t r = 0; r < t->rows; r++)
      p[r] -= dq[r] * g[j];
  }
}

/* Each code of column i to the value that is best with all others fixed: a parabola's least point
 * on a grid is the one nearest to its vertex. */
static void descend_column(qli_solve_tile *t, size_t group, size_t i)
{
  qli_solve_chunk *c = t->chunk;
  const size_t at = i * c->rows + t->row;
  const double h = c->plan->gram[i * c->plan->factor->cols + i];
  const qli_point *points = c->points + group * c->rows + t->row;
  double dq[TILE];
  bool moved = false;
  for (size_t r = 0; r < t->rows; r++) {
    const int32_t old = c->codes[at + r];
    const double q = qli_grid_value(points[r], old), p = c->p[at + r];
    const double vertex = h > 0.0 ? q + p / h : q + c->d[at + r];
    const int32_t code = qli_grid_code(c->plan->grid, points[r], vertex);
    const double step = qli_grid_value(points[r], code) - q, gain = step * (2.0 * p - step * h);
    dq[r] = 0.0;
    if (code == old || (h > 0.0 && !(gain > tie * step * step * h)))
      continue;
    dq[r] = step;
    c->codes[at + r] = (uint8_t)code;
    t->gain += gain;
    t->moves++;
    moved = true;
  }
  if (moved)
    qli_solve_move(t, i, dq);
}

static bool is_dead(const qli_solve_plan *plan, size_t i)
{
  return plan->gram[i * plan->factor->cols + i] == 0.0;
}

/* The columns of a group that lie in the block. Dead ones follow a moved grid in any case. */
static void descend_group(qli_solve_tile *t, size_t group, size_t first, size_t end)
{
  const qli_solve_plan *plan = t->chunk->plan;
  for (size_t i = first; i < end; i++)
    if (plan->config.descent != 0 || is_dead(plan, i))
      descend_column(t, group, i);
}

static void work_tile(void *arg, size_t index, size_t worker)
{
  const qli_solve_tile *block = arg;
  qli_solve_chunk *c = block->chunk;
  const qli_solve_plan *plan = c->plan;
  qli_solve_tile t = *block;
  t.row = index * TILE;
  t.rows = qli_min_size(TILE, c->rows - t.row);
  t.scratch = c->scratch + worker * plan->scratch;
  for (size_t i = t.first; i < t.end; i++)
    memset(c->e + (i - t.first) * c->rows + t.row, 0, t.rows * sizeof *c->e);
  const bool narrow = plan->grid->block_cols <= QLI_SOLVE_NARROW;
  for (size_t i = t.first, end; i < t.end; i = end) {
    const size_t group = i / plan->grid->block_cols;
    end = qli_min_size(t.end, plan->gptq->first[group + 1]);
    if (narrow && plan->config.regrid != 0)
      qli_solve_regrid(&t, group);
    if (narrow && plan->config.refit != 0)
      qli_solve_refit(&t, group);
    descend_group(&t, group, i, end);
  }
  c->gains[index] += t.gain;
  c->moves[index] += t.moves;
}

ql_status qli_solve_product(const qli_solve_chunk *chunk, qli_sign sign, size_t m, size_t n,
                            qli_view_f64 a, qli_view_f64 b, double *c, ql_error *error)
{
  const ql_ctx *ctx = chunk->plan->ctx;
  if (chunk->plan->factor->cols <= QLI_SOLVE_EXACT)
    return qli_gemm_f64(ctx, sign, m, chunk->rows, n, a, b, c, chunk->rows, error);
  return qli_gemm_narrow(ctx, sign, m, chunk->rows, n, a, b, c, chunk->rows, error);
}

/* P of the columns outside of the block: P -= G[outside, block] e. */
static ql_status spread(const qli_solve_tile *b, ql_error *error)
{
  const qli_solve_chunk *c = b->chunk;
  const size_t cols = c->plan->factor->cols, n = b->end - b->first;
  const qli_view_f64 e = {c->e, c->rows, 1};
  const qli_view_f64 before = {c->plan->gram + b->first, cols, 1};
  const qli_view_f64 after = {c->plan->gram + b->end * cols + b->first, cols, 1};
  QLI_TRY(qli_solve_product(c, QLI_SUBTRACT, b->first, n, before, e, c->p, error));
  return qli_solve_product(c, QLI_SUBTRACT, cols - b->end, n, after, e, c->p + b->end * c->rows,
                           error);
}

static ql_status run_round(qli_solve_chunk *c, ql_error *error)
{
  const size_t cols = c->plan->factor->cols, tiles = qli_ceil_div(c->rows, TILE);
  if (c->plan->config.refit != 0 && c->plan->grid->block_cols > QLI_SOLVE_NARROW)
    QLI_TRY(qli_solve_refit_wide(c, error));
  for (size_t i = 0, end; i < cols; i = end) {
    end = qli_solve_block_end(c->plan, i);
    qli_solve_tile block = {.chunk = c, .first = i, .end = end};
    qli_parallel_for(c->plan->ctx, tiles, work_tile, &block);
    QLI_TRY(spread(&block, error));
  }
  return QL_STATUS_OK;
}

/* P = G delta^T, column by column. */
static ql_status find_gradient(qli_solve_chunk *c, ql_error *error)
{
  const size_t cols = c->plan->factor->cols;
  memset(c->p, 0, cols * c->rows * sizeof *c->p);
  return qli_solve_product(c, QLI_ADD, cols, cols, (qli_view_f64){c->plan->gram, cols, 1},
                           (qli_view_f64){c->d, c->rows, 1}, c->p, error);
}

static double loss_of(const qli_solve_chunk *c)
{
  double sum = 0.0;
  for (size_t i = 0; i < c->plan->factor->cols * c->rows; i++)
    sum += c->d[i] * c->p[i];
  return sum;
}

static double gain_of(const qli_solve_chunk *c)
{
  double gain = 0.0;
  for (size_t i = 0; i < qli_ceil_div(c->rows, TILE); i++)
    gain += c->gains[i];
  return gain;
}

ql_status qli_solve_rounds(qli_solve_chunk *chunk, int32_t *rounds, uint64_t done, uint64_t total,
                           ql_error *error)
{
  const qli_solve_plan *plan = chunk->plan;
  QLI_TRY(find_gradient(chunk, error));
  double loss = loss_of(chunk), before = gain_of(chunk);
  for (int32_t i = 0; i < plan->config.rounds; i++) {
    QLI_TRY(qli_progress(plan->ctx, "solve", done + (uint64_t)i * chunk->rows * plan->grid->cols,
                         total, error));
    QLI_TRY(run_round(chunk, error));
    QLI_TRY(qli_solve_shuffle(chunk, i, error));
    const double after = gain_of(chunk), gain = after - before;
    *rounds = i + 1 > *rounds ? i + 1 : *rounds;
    before = after;
    loss -= gain;
    if (!(gain > enough * loss))
      break;
  }
  return QL_STATUS_OK;
}
