/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "linalg.h"

#include "checked.h"
#include "error.h"
#include "tile.h"

#include <math.h>
#include <string.h>

/* By outer blocks of OUTER columns, from the last to the first, each by blocks J of QLI_PANEL:
 *   R[J,J] from the diagonal block; R[I,J] = H[I,J] R[J,J]^-T for all blocks I above it;
 *   H[I,I'] -= R[I,J] R[I',J]^T for the blocks I' of the outer block that are left;
 * and when it is done, the same for all columns before it at once, by all of its columns in the
 * same order: a product that is deep enough not to wait for memory. */

enum { STEP = 16, OUTER = 4 * QLI_PANEL, STRETCH = QLI_PANEL / 2 /* of sums in f32 */ };

/* Panels of R hold OUTER columns, the last one first: those of block J begin at depth outer_end -
 * end of J. */
typedef struct {
  qli_tile_ops ops, far; /* far: of the columns before the outer block */
  double *h;
  size_t ld;
  size_t first, width;               /* of the current block of columns */
  size_t outer_first, outer_end;     /* of its outer block */
  double *coefficients;              /* panel (c, i) = -R[i][c] of the diagonal block */
  double *plus, *minus;              /* panels of +-R[0..first, outer block], (c, i) */
  float *narrow_plus, *narrow_minus; /* the same in f32, where far is narrow */
} chol_job;

/* Unblocked, n <= QLI_PANEL. Returns the index of the pivot that is not positive, n if none. */
static size_t factor_block(double *a, size_t ld, size_t n)
{
  double column[QLI_PANEL];
  for (size_t j = n; j-- > 0;) {
    const double pivot = a[j * ld + j];
    if (!(pivot > 0) || !isfinite(pivot))
      return j;
    const double root = sqrt(pivot);
    a[j * ld + j] = root;
    for (size_t i = 0; i < j; i++)
      column[i] = a[i * ld + j] /= root;
    for (size_t i = 0; i < j; i++)
      for (size_t c = i; c < j; c++)
        a[i * ld + c] -= column[i] * column[c];
  }
  return n;
}

/* Columns end-1 down to first of X R^T = B; those from end on are already eliminated. */
static void substitute(const chol_job *j, size_t first, size_t end, double *x)
{
  const double *r = j->h + j->first * j->ld + j->first;
  for (size_t c = end; c-- > first;) {
    double *known = x + c * QLI_PANEL;
    const double pivot = r[c * j->ld + c];
    for (size_t i = 0; i < QLI_PANEL; i++)
      known[i] /= pivot;
    for (size_t later = first; later < c; later++) {
      double *unknown = x + later * QLI_PANEL;
      const double coefficient = r[later * j->ld + c];
      for (size_t i = 0; i < QLI_PANEL; i++)
        unknown[i] -= coefficient * known[i];
    }
  }
}

static size_t panel_at(const chol_job *j, size_t index)
{
  return (index * OUTER + j->outer_end - j->first - j->width) * QLI_PANEL;
}

static void solve_panel(void *arg, size_t index, size_t worker)
{
  const chol_job *j = arg;
  const size_t at = panel_at(j, index), values = j->width * QLI_PANEL;
  double *rows = j->h + index * QLI_PANEL * j->ld + j->first, *x = j->plus + at;
  (void)worker;
  qli_pack_f64(rows, j->ld, 1, QLI_PANEL, j->width, 0, x);
  for (size_t end = j->width; end > 0;) {
    const size_t first = (end - 1) / STEP * STEP;
    substitute(j, first, end, x);
    qli_tile_add(&j->ops, end - first, j->coefficients + first * QLI_PANEL, x + first * QLI_PANEL,
                 x, QLI_PANEL, first, QLI_PANEL, 0);
    end = first;
  }
  for (size_t i = 0; i < values; i++)
    j->minus[at + i] = -x[i];
  for (size_t i = 0; j->narrow_plus != NULL && i < values; i++) {
    j->narrow_plus[at + i] = (float)x[i];
    j->narrow_minus[at + i] = -(float)x[i];
  }
  for (size_t i = 0; i < QLI_PANEL; i++)
    for (size_t c = 0; c < j->width; c++)
      rows[i * j->ld + c] = x[c * QLI_PANEL + i];
}

/* Tiles of the columns of the outer block that are left. */
static void update_near(void *arg, size_t index, size_t worker)
{
  const chol_job *j = arg;
  const size_t skipped = j->outer_first / QLI_PANEL;
  size_t row, col;
  (void)worker;
  qli_triangle_place(index + skipped * (skipped + 1) / 2, &row, &col);
  qli_tile_add(&j->ops, j->width, j->minus + panel_at(j, row), j->plus + panel_at(j, col),
               j->h + (row * j->ld + col) * QLI_PANEL, j->ld, QLI_PANEL, QLI_PANEL, row == col);
}

/* Tiles of the columns before the outer block, which is done. */
static void update_far(void *arg, size_t index, size_t worker)
{
  const chol_job *j = arg;
  const size_t end = j->outer_end - j->outer_first, panel = OUTER * QLI_PANEL;
  size_t row, col;
  (void)worker;
  qli_triangle_place(index, &row, &col);
  double *c = j->h + (row * j->ld + col) * QLI_PANEL;
  if (j->narrow_plus == NULL) {
    qli_tile_add(&j->far, end, j->minus + row * panel, j->plus + col * panel, c, j->ld, QLI_PANEL,
                 QLI_PANEL, row == col);
    return;
  }
  for (size_t at = 0; at < end; at += STRETCH)
    qli_tile_add(
        &j->far, qli_min_size(STRETCH, end - at), j->narrow_minus + row * panel + at * QLI_PANEL,
        j->narrow_plus + col * panel + at * QLI_PANEL, c, j->ld, QLI_PANEL, QLI_PANEL, row == col);
}

/* Returns the index of the pivot that is not positive, outer_end if none. */
static size_t factor_outer(const ql_ctx *ctx, chol_job *j)
{
  const size_t before = j->outer_first / QLI_PANEL, skipped = before * (before + 1) / 2;
  for (size_t end = j->outer_end; end > j->outer_first; end = j->first) {
    j->first = (end - 1) / QLI_PANEL * QLI_PANEL;
    j->width = end - j->first;
    double *block = j->h + j->first * j->ld + j->first;
    const size_t pivot = factor_block(block, j->ld, j->width);
    if (pivot != j->width)
      return j->first + pivot;
    const size_t above = j->first / QLI_PANEL;
    qli_pack_f64(block, j->ld, 1, j->width, j->width, 1, j->coefficients);
    qli_parallel_for(ctx, above, solve_panel, j);
    qli_parallel_for(ctx, above * (above + 1) / 2 - skipped, update_near, j);
  }
  qli_parallel_for(ctx, skipped, update_far, j);
  return j->outer_end;
}

/* n when the whole matrix is factored, else the pivot that is not positive. */
static size_t factor(const ql_ctx *ctx, chol_job *j, size_t n)
{
  for (j->outer_end = n; j->outer_end > 0; j->outer_end = j->outer_first) {
    j->outer_first = (j->outer_end - 1) / OUTER * OUTER;
    const size_t pivot = factor_outer(ctx, j);
    if (pivot != j->outer_end)
      return pivot;
  }
  return n;
}

static void clear_below(size_t n, double *h, size_t ld)
{
  for (size_t i = 1; i < n; i++)
    memset(h + i * ld, 0, i * sizeof *h);
}

static ql_status not_positive(size_t pivot, double value, ql_error *error)
{
  qli_fail(error, QL_STATUS_NUMERIC, "the matrix is not positive definite: pivot %zu is %g", pivot,
           value);
  qli_error_at(error, (int64_t)pivot, (int64_t)pivot);
  return QL_STATUS_NUMERIC;
}

ql_status qli_chol_upper(const ql_ctx *ctx, size_t n, double *h, size_t ld, int narrow,
                         size_t *pivot, ql_error *error)
{
  const size_t panel = (size_t)OUTER * QLI_PANEL, count = qli_ceil_div(n, QLI_PANEL);
  const size_t sets = narrow ? 3 : 2;
  double *scratch = qli_alloc(ctx, sets * count + 1, panel * sizeof *scratch);
  if (scratch == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to factor a matrix of %zu", n);
  chol_job j = {.ops = qli_tile_ops_f64(ctx), .h = h, .ld = ld, .coefficients = scratch};
  j.far = narrow ? qli_tile_ops_wide(ctx) : j.ops;
  j.plus = scratch + panel;
  j.minus = j.plus + count * panel;
  if (narrow) {
    j.narrow_plus = (float *)(void *)(j.minus + count * panel);
    j.narrow_minus = j.narrow_plus + count * panel;
  }
  const size_t failed = factor(ctx, &j, n);
  qli_free(ctx, scratch);
  if (pivot != NULL)
    *pivot = failed;
  return failed == n ? QL_STATUS_OK : not_positive(failed, h[failed * ld + failed], error);
}

ql_status qli_chol_reverse(const ql_ctx *ctx, size_t n, double *h, size_t ld, size_t *pivot,
                           ql_error *error)
{
  QLI_TRY(qli_chol_upper(ctx, n, h, ld, 0, pivot, error));
  clear_below(n, h, ld);
  return QL_STATUS_OK;
}
