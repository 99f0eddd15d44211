/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "gptq.h"

#include "checked.h"

#include <string.h>

/* Columns of a step: those after it are fed by a product of this depth. Fewest columns of a
 * segment: panels of fewer would be padding. */
enum { STEP = 16, SEGMENT_MIN = QLI_PANEL };

typedef struct {
  size_t far, near, within; /* values */
  size_t steps, segments;
} sizes;

static size_t panels_of(size_t columns)
{
  return qli_ceil_div(columns, QLI_PANEL);
}

/* Groups that are found on the way are not cut: their grids are made of weights that have all
 * feedback from outside. */
static bool has_groups(const qli_gptq_plan *plan)
{
  return !plan->fixed && !plan->stale && !plan->wide;
}

static size_t segment_end(const qli_gptq_plan *plan, size_t k, size_t strip_end)
{
  const size_t block = plan->config.block > SEGMENT_MIN ? plan->config.block : SEGMENT_MIN;
  if (!has_groups(plan))
    return k + qli_min_size(block, strip_end - k);
  size_t end = qli_gptq_group_end(plan, k);
  while (end < strip_end && qli_gptq_group_end(plan, end) - k <= block)
    end = qli_gptq_group_end(plan, end);
  return end;
}

static size_t step_end(const qli_gptq_plan *plan, size_t k, size_t segment_end)
{
  const size_t end = k + qli_min_size(STEP, segment_end - k);
  return has_groups(plan) ? qli_min_size(end, qli_gptq_group_end(plan, k)) : end;
}

/* Where everything of the strip lies. step and segment may be NULL. */
static sizes lay_out(const qli_gptq_plan *plan, size_t first, size_t end, qli_gptq_step *step,
                     qli_gptq_segment *segment)
{
  sizes n = {.far = panels_of(end - first) * QLI_PANEL * first};
  for (size_t k = first, stop; k < end; k = stop) {
    stop = segment_end(plan, k, end);
    qli_gptq_segment here = {k, stop, n.near, n.steps, n.steps};
    n.near += panels_of(stop - k) * QLI_PANEL * (k - first);
    for (size_t i = k, after; i < stop; i = after, n.steps++) {
      after = step_end(plan, i, stop);
      if (step != NULL)
        step[n.steps] = (qli_gptq_step){i, after, n.within};
      n.within += panels_of(stop - after) * QLI_PANEL * (after - i);
    }
    here.step_end = n.steps;
    if (segment != NULL)
      segment[n.segments] = here;
    n.segments++;
  }
  return n;
}

static void keep_largest(size_t *most, size_t n)
{
  *most = n > *most ? n : *most;
}

bool qli_gptq_strip_alloc(const qli_gptq_plan *plan, bool exact, qli_gptq_strip *s)
{
  const ql_ctx *ctx = plan->ctx;
  sizes most = {1, 1, 1, 1, 1};
  for (size_t k = 0, end; k < plan->factor->cols; k = end) {
    end = qli_gptq_strip_end(plan, k);
    const sizes n = lay_out(plan, k, end, NULL, NULL);
    keep_largest(&most.far, n.far);
    keep_largest(&most.near, n.near);
    keep_largest(&most.within, n.within);
    keep_largest(&most.steps, n.steps);
    keep_largest(&most.segments, n.segments);
  }
  *s = (qli_gptq_strip){.plan = plan, .ops = qli_tile_ops_f64(ctx)};
  s->far_ops = exact ? s->ops : qli_tile_ops_wide(ctx);
  s->step = qli_alloc(ctx, most.steps, sizeof *s->step);
  s->segment = qli_alloc(ctx, most.segments, sizeof *s->segment);
  s->far = qli_alloc(ctx, most.far, s->far_ops.size);
  s->near = qli_alloc(ctx, most.near, sizeof *s->near);
  s->within = qli_alloc(ctx, most.within, sizeof *s->within);
  return s->step != NULL && s->segment != NULL && s->far != NULL && s->near != NULL &&
         s->within != NULL;
}

void qli_gptq_strip_free(qli_gptq_strip *s)
{
  qli_free(s->plan->ctx, s->step);
  qli_free(s->plan->ctx, s->segment);
  qli_free(s->plan->ctx, s->far);
  qli_free(s->plan->ctx, s->near);
  qli_free(s->plan->ctx, s->within);
}

/* R[from..to, first..end) in panels. */
static void pack(const ql_gptq_factor *f, size_t from, size_t to, size_t first, size_t end,
                 double *dst)
{
  const double *src = f->matrix + from * f->cols + first;
  for (size_t i = 0; i < end - first; i += QLI_PANEL, dst += (to - from) * QLI_PANEL)
    qli_pack_f64(src + i, 1, f->cols, qli_min_size(QLI_PANEL, end - first - i), to - from, 0, dst);
}

static void pack_segment(void *arg, size_t index, size_t worker)
{
  const qli_gptq_strip *s = arg;
  const qli_gptq_segment *g = &s->segment[index];
  const ql_gptq_factor *f = s->plan->factor;
  (void)worker;
  pack(f, s->first, g->first, g->first, g->end, s->near + g->at);
  for (size_t i = g->step_first; i < g->step_end; i++)
    pack(f, s->step[i].first, s->step[i].end, s->step[i].end, g->end, s->within + s->step[i].at);
}

/* One panel of columns, a few rows of R. */
static void pack_far(void *arg, size_t index, size_t worker)
{
  const qli_gptq_strip *s = arg;
  const ql_gptq_factor *f = s->plan->factor;
  const size_t pieces = qli_ceil_div(s->first, QLI_DEPTH);
  const size_t panel = index / pieces, row = index % pieces * QLI_DEPTH;
  const size_t col = s->first + panel * QLI_PANEL, rows = qli_min_size(QLI_DEPTH, s->first - row);
  const size_t width = qli_min_size(QLI_PANEL, s->end - col);
  const double *src = f->matrix + row * f->cols + col;
  unsigned char *dst = s->far + (panel * s->first + row) * QLI_PANEL * s->far_ops.size;
  (void)worker;
  if (s->far_ops.f64 != NULL)
    qli_pack_f64(src, 1, f->cols, width, rows, 0, (double *)(void *)dst);
  else
    qli_pack_narrow(src, 1, f->cols, width, rows, 0, (float *)(void *)dst);
}

void qli_gptq_strip_load(qli_gptq_strip *s, size_t k)
{
  s->first = k;
  s->end = qli_gptq_strip_end(s->plan, k);
  const sizes n = lay_out(s->plan, k, s->end, s->step, s->segment);
  s->steps = n.steps;
  s->segments = n.segments;
  const size_t pieces = qli_ceil_div(k, QLI_DEPTH);
  qli_parallel_for(s->plan->ctx, n.segments, pack_segment, s);
  qli_parallel_for(s->plan->ctx, panels_of(s->end - k) * pieces, pack_far, s);
}
