/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "packed.h"

#include "checked.h"
#include "error.h"

#include <string.h>

static size_t group_of(const ql_qmat_view *v, size_t column)
{
  return v->g_idx != NULL ? (size_t)v->g_idx[column] : column / v->block_cols;
}

/* sizes[g] columns of each group, in the place of the ends. */
static void count_columns(const ql_qmat_view *v, uint32_t *sizes)
{
  memset(sizes, 0, v->groups * sizeof *sizes);
  for (size_t c = 0; c < v->cols; c++)
    sizes[group_of(v, c)]++;
}

/* Sizes become ends; false when packed k does not fit 31 bits. */
static bool sum_groups(uint32_t *ends, size_t groups, size_t kr, size_t *total)
{
  size_t k = 0;
  for (size_t g = 0; g < groups; g++) {
    k += qli_ceil_div(ends[g], kr) * kr;
    if (k > INT32_MAX)
      return false;
    ends[g] = (uint32_t)k;
  }
  *total = k;
  return true;
}

/* next[g]: first free place of group g. */
static void place_columns(const ql_qmat_view *v, qli_pack_plan *plan, uint32_t *next)
{
  for (size_t p = 0; p < plan->k; p++)
    plan->gather[p] = -1;
  for (size_t g = 0; g < plan->groups; g++)
    next[g] = g > 0 ? plan->ends[g - 1] : 0;
  for (size_t c = 0; c < v->cols; c++)
    plan->gather[next[group_of(v, c)]++] = (int32_t)c;
}

static void describe(const ql_qmat_view *v, qli_pack_plan *plan)
{
  int32_t last = -1;
  plan->permuted = 0;
  for (size_t p = 0; p < plan->k; p++) {
    if (plan->gather[p] < 0)
      continue;
    if (plan->gather[p] < last)
      plan->permuted = 1;
    last = plan->gather[p];
  }
  plan->identity = !plan->permuted && plan->k == v->cols;
}

ql_status qli_pack_plan_make(const ql_ctx *ctx, const ql_qmat_view *view, size_t kr,
                             qli_pack_plan *plan, ql_error *error)
{
  ql_status status = QL_STATUS_OK;
  uint32_t *next = NULL;
  memset(plan, 0, sizeof *plan);
  plan->groups = view->groups;
  plan->ends = qli_alloc(ctx, view->groups, sizeof *plan->ends);
  if (plan->ends == NULL) {
    status = qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to pack %zu groups", view->groups);
    goto done;
  }
  count_columns(view, plan->ends);
  if (!sum_groups(plan->ends, plan->groups, kr, &plan->k)) {
    status = qli_fail(error, QL_STATUS_OVERFLOW, "%zu columns in %zu groups are too many to pack",
                      view->cols, view->groups);
    goto done;
  }
  next = qli_alloc(ctx, plan->groups, sizeof *next);
  plan->gather = qli_alloc(ctx, plan->k, sizeof *plan->gather);
  if (next == NULL || plan->gather == NULL) {
    status = qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to pack %zu columns", view->cols);
    goto done;
  }
  place_columns(view, plan, next);
  describe(view, plan);
done:
  qli_free(ctx, next);
  if (status != QL_STATUS_OK)
    qli_pack_plan_free(ctx, plan);
  return status;
}

void qli_pack_plan_free(const ql_ctx *ctx, qli_pack_plan *plan)
{
  qli_free(ctx, plan->ends);
  qli_free(ctx, plan->gather);
  memset(plan, 0, sizeof *plan);
}
