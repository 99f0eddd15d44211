/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "gptq.h"

#include "checked.h"
#include "error.h"

#include <string.h>

/* Memory for the weights of a chunk, and most rows of one: enough tasks for many threads. Neither
 * depends on the number of threads. */
static const size_t chunk_bytes = (size_t)96 << 20;
enum { CHUNK_MAX = 64 * QLI_GPTQ_TILE, REFERENCE_PANEL = 128 };

static void set_groups(qli_gptq_plan *plan)
{
  const ql_gptq_factor *f = plan->factor;
  const bool by_position = f->order == QL_GPTQ_ORDER_ACT;
  for (size_t k = 0; k < f->cols; k++) {
    const size_t col = by_position ? k : (size_t)f->perm[k];
    plan->group_of[k] = (int32_t)(col / plan->grid->block_cols);
  }
}

/* Counting sort of the positions by group. */
static void set_members(qli_gptq_plan *plan)
{
  const size_t cols = plan->factor->cols, groups = plan->grid->groups;
  memset(plan->first, 0, (groups + 1) * sizeof *plan->first);
  for (size_t k = 0; k < cols; k++)
    plan->first[(size_t)plan->group_of[k] + 1]++;
  for (size_t g = 0; g < groups; g++)
    plan->first[g + 1] += plan->first[g];
  for (size_t k = 0; k < cols; k++)
    plan->members[plan->first[plan->group_of[k]]++] = (int32_t)k;
  for (size_t g = groups; g > 0; g--)
    plan->first[g] = plan->first[g - 1];
  plan->first[0] = 0;
}

/* All chunks are of about the same size, so that no task of the last one works alone. */
static void set_chunk(qli_gptq_plan *plan)
{
  const size_t rows = plan->grid->rows, cols = plan->factor->cols;
  const size_t fit = chunk_bytes / sizeof(double) / (cols + 1) / QLI_GPTQ_TILE;
  const size_t most = qli_min_size(fit + (fit == 0), CHUNK_MAX / QLI_GPTQ_TILE) * QLI_GPTQ_TILE;
  const size_t chunks = qli_ceil_div(rows, most), even = qli_ceil_div(rows, chunks + (chunks == 0));
  plan->chunk = qli_min_size(qli_ceil_div(even, QLI_GPTQ_TILE) * QLI_GPTQ_TILE, rows);
}

ql_status qli_gptq_plan_make(const ql_ctx *ctx, const ql_tensor *w, const ql_gptq_factor *factor,
                             const qli_grid *grid, const ql_gptq_config *config,
                             qli_gptq_plan *plan, ql_error *error)
{
  const bool classical = (grid->flags & QL_GRID_CLASSICAL) != 0;
  const size_t cols = factor->cols;
  *plan = (qli_gptq_plan){.ctx = ctx, .factor = factor, .w = w, .grid = grid, .config = *config};
  /* A single group of the classical program is found before its dead columns are cleared. */
  plan->fixed = factor->order == QL_GPTQ_ORDER_STATIC || config->static_grids != 0 ||
                (classical && grid->groups == 1);
  plan->stale = classical && !plan->fixed;
  plan->strip = cols <= QLI_GPTQ_EXACT ? QLI_GPTQ_EXACT : QLI_GPTQ_STRIP;
  plan->wide = !plan->fixed && !plan->stale && grid->block_cols > plan->strip;
  plan->group_of = qli_alloc(ctx, cols, sizeof *plan->group_of);
  plan->members = qli_alloc(ctx, cols, sizeof *plan->members);
  plan->first = qli_alloc(ctx, grid->groups + 1, sizeof *plan->first);
  plan->pivots_sq = qli_alloc(ctx, cols, sizeof *plan->pivots_sq);
  plan->upper = qli_alloc(ctx, (size_t)REFERENCE_PANEL * REFERENCE_PANEL, sizeof *plan->upper);
  if (plan->group_of == NULL || plan->members == NULL || plan->first == NULL ||
      plan->pivots_sq == NULL || plan->upper == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to plan %zu columns", cols);
  for (size_t k = 0; k < cols; k++)
    plan->pivots_sq[k] = qli_factor_pivot(factor, k) * qli_factor_pivot(factor, k);
  set_groups(plan);
  set_members(plan);
  set_chunk(plan);
  return QL_STATUS_OK;
}

void qli_gptq_plan_free(qli_gptq_plan *plan)
{
  qli_free(plan->ctx, plan->group_of);
  qli_free(plan->ctx, plan->members);
  qli_free(plan->ctx, plan->first);
  qli_free(plan->ctx, plan->pivots_sq);
  qli_free(plan->ctx, plan->upper);
}

size_t qli_gptq_group_end(const qli_gptq_plan *plan, size_t k)
{
  size_t end = k + 1;
  while (end < plan->factor->cols && plan->group_of[end] == plan->group_of[k])
    end++;
  return end;
}

bool qli_gptq_group_begins(const qli_gptq_plan *plan, size_t k)
{
  return k == 0 || plan->group_of[k - 1] != plan->group_of[k];
}

static bool group_begins_within(const qli_gptq_plan *plan, size_t first, size_t k)
{
  while (k > first && !qli_gptq_group_begins(plan, k))
    k--;
  return qli_gptq_group_begins(plan, k);
}

/* End of the classical block of position k. */
static size_t block_end(const qli_gptq_plan *plan, size_t k)
{
  const size_t block = plan->config.block, left = block - k % block;
  return k + qli_min_size(left, plan->factor->cols - k);
}

size_t qli_gptq_strip_end(const qli_gptq_plan *plan, size_t k)
{
  const size_t cols = plan->factor->cols, most = k + qli_min_size(plan->strip, cols - k);
  if (plan->fixed)
    return most;
  if (plan->stale || plan->wide)
    return qli_min_size(most, plan->stale ? block_end(plan, k) : qli_gptq_group_end(plan, k));
  size_t end = qli_gptq_group_end(plan, k);
  while (end < most && qli_gptq_group_end(plan, end) <= most)
    end = qli_gptq_group_end(plan, end);
  return end;
}

size_t qli_gptq_ahead_end(const qli_gptq_plan *plan, size_t k, size_t *look)
{
  *look = k;
  if (plan->wide && qli_gptq_group_begins(plan, k))
    return *look = qli_gptq_group_end(plan, k);
  if (!plan->stale || k % plan->config.block != 0)
    return k;
  const size_t end = block_end(plan, k);
  *look = group_begins_within(plan, k, end - 1) ? qli_gptq_group_end(plan, end - 1) : end;
  return end;
}
