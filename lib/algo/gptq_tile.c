/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "gptq.h"

#include "checked.h"

#include <string.h>

/* Rows are independent of each other, so that a tile of them goes through a strip on its own. */

enum { TILE = QLI_GPTQ_TILE, ROWS = 8 };

typedef struct {
  qli_gptq_chunk *c;
  const qli_gptq_strip *s;
  const qlk_solve *kernels;
  qli_gptq_space *own;
  size_t row, rows; /* of the chunk */
} work;

static double *at(const work *w, double *array, size_t k)
{
  return array + (k - w->s->first) * TILE;
}

/* Rows of the tile, up to what the kernels take at once: the rest is not looked at. */
static size_t width_for(const work *w, const qli_tile_ops *ops)
{
  return qli_ceil_div(w->rows, ops->nr) * ops->nr;
}

/* sums[n columns] += R delta^T for panels of R that are `rows` long, of which `depth` are used. */
static void feed(const work *w, const double *r, size_t rows, const double *delta, size_t depth,
                 double *sums, size_t n)
{
  const qli_tile_ops *ops = &w->s->ops;
  const size_t width = width_for(w, ops);
  for (size_t i = 0; i < n; i += QLI_PANEL)
    qli_tile_add(ops, depth, r + i * rows, delta, sums + i * TILE, TILE,
                 qli_min_size(QLI_PANEL, n - i), width, 0);
}

/* Deltas of some columns before the strip as the far product wants them. */
static void pack_delta(const work *w, size_t k, size_t depth)
{
  const bool narrow = w->s->far_ops.f64 == NULL;
  for (size_t i = 0; i < depth; i++) {
    const double *d = w->c->d + (k + i) * w->c->rows + w->row;
    if (narrow)
      w->kernels->narrow(w->rows, d, (float *)w->own->far + i * TILE);
    else
      memcpy((double *)w->own->far + i * TILE, d, w->rows * sizeof *d);
  }
}

/* Feedback from all columns before the strip: nearly all of the work. An error of 2^-16 of these
 * sums moves no loss: it is a minute change of the weights that feedback makes, long before they
 * are rounded. */
static void gather_far(const work *w)
{
  const qli_gptq_strip *s = w->s;
  const qli_tile_ops *ops = &s->far_ops;
  const size_t n = s->end - s->first, width = width_for(w, ops);
  memset(w->own->sums, 0, n * TILE * sizeof *w->own->sums);
  for (size_t k = 0; k < s->first; k += QLI_DEPTH) {
    const size_t depth = qli_min_size(QLI_DEPTH, s->first - k);
    pack_delta(w, k, depth);
    for (size_t i = 0; i < n; i += QLI_PANEL)
      qli_tile_add(ops, depth, s->far + (i * s->first + k * QLI_PANEL) * ops->size, w->own->far,
                   w->own->sums + i * TILE, TILE, qli_min_size(QLI_PANEL, n - i), width, 0);
  }
}

/* --- grids --- */

/* The step's columns of fed <- (fed - those before in the step) R^-1. */
static void solve_step(const work *w, const qli_gptq_step *step, double *fed, double *minus)
{
  const ql_gptq_factor *f = w->c->plan->factor;
  for (size_t k = step->first; k < step->end; k++, fed += TILE, minus += TILE) {
    const double *r = f->matrix + k * f->cols + k;
    w->kernels->divide(r[0], fed, minus);
    w->kernels->spread(step->end - k - 1, r + 1, minus, fed + TILE);
  }
}

/* fed = sums R^-1 over the columns of a group, which lies in one segment. */
static void solve_group(const work *w, const qli_gptq_segment *g, size_t first, size_t end)
{
  double *fed = w->own->fed, *minus = w->own->minus;
  memcpy(fed, at(w, w->own->sums, first), (end - first) * TILE * sizeof *fed);
  for (size_t i = g->step_first; i < g->step_end; i++) {
    const qli_gptq_step *step = &w->s->step[i];
    if (step->first < first || step->first >= end)
      continue;
    const size_t depth = step->end - step->first;
    double *known = minus + (step->first - first) * TILE;
    solve_step(w, step, fed + (step->first - first) * TILE, known);
    feed(w, w->s->within + step->at, depth, known, depth, fed + (step->end - first) * TILE,
         end - step->end);
  }
}

/* Weights with feedback, of some rows from row r of the tile on, side by side. */
static void collect(const work *w, size_t r, size_t rows, size_t first, size_t n, double *to)
{
  const double *fed = w->own->fed + r, *d = w->c->d + first * w->c->rows + w->row + r;
  for (size_t k = 0; k < n; k++)
    for (size_t i = 0; i < rows; i++)
      to[i * n + k] = fed[k * TILE + i] + d[k * w->c->rows + i];
}

static bool find_group(const work *w, const qli_gptq_segment *g, size_t first,
                       qli_tile_result *result)
{
  const qli_gptq_plan *plan = w->c->plan;
  const size_t end = qli_gptq_group_end(plan, first), n = end - first;
  const double *weight = qli_gptq_search_weights(w->c, first);
  solve_group(w, g, first, end);
  for (size_t r = 0; r < w->rows; r += ROWS) {
    const size_t rows = qli_min_size(ROWS, w->rows - r);
    collect(w, r, rows, first, n, w->own->minus);
    for (size_t i = 0; i < rows; i++)
      if (!qli_gptq_find_point(w->c, (size_t)plan->group_of[first], w->row + r + i,
                               w->own->minus + i * n, n, weight, result))
        return false;
  }
  return true;
}

/* --- codes --- */

static void load_points(const work *w, size_t group)
{
  qlk_points *p = &w->own->points;
  const qli_point *from = w->c->points + group * w->c->rows + w->row;
  for (size_t r = 0; r < w->rows; r++) {
    p->scale[r] = (double)from[r].scale;
    p->zero[r] = (double)from[r].zero;
    p->fzero[r] = (double)from[r].fzero;
  }
  w->own->group = group;
}

/* The classical program rounds in f32, one weight at a time. */
static void code_classical(const work *w, double pivot, double excess, const double *weights,
                           const double *fed, double *delta, uint8_t *codes)
{
  const qli_point *points = w->c->points + w->own->group * w->c->rows + w->row;
  qlk_losses *sums = &w->own->losses;
  for (size_t r = 0; r < w->rows; r++) {
    const double target = weights[r] + fed[r] / pivot;
    const int32_t code = qli_grid_code(w->c->grid, points[r], target);
    const double q = qli_grid_value(points[r], code), scaled = (target - q) * pivot;
    codes[r] = (uint8_t)code;
    delta[r] = weights[r] - q;
    sums->loss[r] += scaled * scaled;
    sums->sse[r] += delta[r] * delta[r];
    sums->excess[r] += excess * (delta[r] * delta[r]);
  }
}

static void code_column(const work *w, size_t k)
{
  const qli_gptq_plan *plan = w->c->plan;
  const qli_grid *grid = w->c->grid;
  const double pivot = qli_factor_pivot(plan->factor, k);
  const double excess = qli_factor_excess(plan->factor, k);
  const double *fed = at(w, w->own->sums, k);
  double *delta = at(w, w->own->delta, k), *weights = w->own->minus;
  double *d = w->c->d + k * w->c->rows + w->row;
  uint8_t *codes = w->own->codes + (k - w->s->first) * TILE;
  const size_t group = (size_t)plan->group_of[k];
  if (group != w->own->group)
    load_points(w, group);
  memcpy(weights, d, w->rows * sizeof *d);
  if ((grid->flags & QL_GRID_CLASSICAL) != 0)
    code_classical(w, pivot, excess, weights, fed, delta, codes);
  else
    w->kernels->code(&w->own->points, (double)qli_grid_lowest(grid), (double)grid->maxq, pivot,
                     excess, weights, fed, delta, codes, &w->own->losses);
  memcpy(d, delta, w->rows * sizeof *d);
}

/* Each delta at once into the sums of the columns after it. */
static void code_step(const work *w, const qli_gptq_step *step)
{
  const ql_gptq_factor *f = w->c->plan->factor;
  for (size_t k = step->first; k < step->end; k++) {
    code_column(w, k);
    w->kernels->spread(step->end - k - 1, f->matrix + k * f->cols + k + 1, at(w, w->own->delta, k),
                       at(w, w->own->sums, k + 1));
  }
}

static bool run_segment(const work *w, const qli_gptq_segment *g, qli_tile_result *result)
{
  const qli_gptq_plan *plan = w->c->plan;
  const bool finds = !plan->fixed && !plan->stale && !plan->wide;
  const size_t before = g->first - w->s->first;
  feed(w, w->s->near + g->at, before, w->own->delta, before, at(w, w->own->sums, g->first),
       g->end - g->first);
  for (size_t i = g->step_first; i < g->step_end; i++) {
    const qli_gptq_step *step = &w->s->step[i];
    const size_t depth = step->end - step->first;
    if (finds && qli_gptq_group_begins(plan, step->first) && !find_group(w, g, step->first, result))
      return false;
    code_step(w, step);
    feed(w, w->s->within + step->at, depth, at(w, w->own->delta, step->first), depth,
         at(w, w->own->sums, step->end), g->end - step->end);
  }
  return true;
}

static void load_losses(const work *w)
{
  const qli_gptq_sums *sums = w->c->sums + w->row;
  qlk_losses *l = &w->own->losses;
  for (size_t r = 0; r < w->rows; r++) {
    l->loss[r] = sums[r].loss;
    l->sse[r] = sums[r].sse;
    l->excess[r] = sums[r].excess;
  }
}

static void store(const work *w)
{
  const int32_t *perm = w->c->plan->factor->perm + w->s->first;
  const size_t cols = w->c->plan->factor->cols, n = w->s->end - w->s->first;
  const qlk_losses *l = &w->own->losses;
  for (size_t r = 0; r < w->rows; r++) {
    uint8_t *codes = w->c->codes + (w->row + r) * cols;
    for (size_t k = 0; k < n; k++)
      codes[perm[k]] = w->own->codes[k * TILE + r];
    qli_gptq_sums *sums = &w->c->sums[w->row + r];
    sums->loss = l->loss[r];
    sums->sse = l->sse[r];
    sums->excess = l->excess[r];
  }
}

void qli_gptq_tile_run(qli_gptq_chunk *c, const qli_gptq_strip *strip, size_t tile,
                       qli_gptq_space *space, qli_tile_result *result)
{
  work w = {c, strip, &c->plan->ctx->kernels.solve, space, tile * TILE, 0};
  w.rows = qli_min_size(TILE, c->rows - w.row);
  space->group = SIZE_MAX;
  load_losses(&w);
  gather_far(&w);
  for (size_t i = 0; i < strip->segments; i++)
    if (!run_segment(&w, &strip->segment[i], result))
      return;
  store(&w);
}
