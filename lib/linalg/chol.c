/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "linalg.h"

#include "checked.h"
#include "error.h"
#include "tile.h"

#include <math.h>
#include <string.h>

/* Right-looking, from the last block of QLI_PANEL columns to the first:
 *   R[J,J] from the diagonal block; R[I,J] = H[I,J] R[J,J]^-T for all blocks I above it;
 *   H[I,I'] -= R[I,J] R[I',J]^T for the upper triangle of what is left. */

enum { STEP = 16 };

typedef struct {
  qli_tile_ops ops;
  double *h;
  size_t ld;
  size_t first, width;  /* of the current block of columns */
  double *coefficients; /* panel (c, i) = -R[i][c] of the diagonal block */
  double *plus, *minus; /* panels of +-R[0..first, block], (c, i) */
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

static void solve_panel(void *arg, size_t index, size_t worker)
{
  const chol_job *j = arg;
  double *rows = j->h + index * QLI_PANEL * j->ld + j->first;
  double *x = j->plus + index * QLI_PANEL * QLI_PANEL;
  double *negative = j->minus + index * QLI_PANEL * QLI_PANEL;
  (void)worker;
  qli_pack_f64(rows, j->ld, 1, QLI_PANEL, j->width, 0, x);
  for (size_t end = j->width; end > 0;) {
    const size_t first = (end - 1) / STEP * STEP;
    substitute(j, first, end, x);
    qli_tile_add(&j->ops, end - first, j->coefficients + first * QLI_PANEL, x + first * QLI_PANEL,
                 x, QLI_PANEL, first, QLI_PANEL, 0);
    end = first;
  }
  for (size_t c = 0; c < j->width; c++)
    for (size_t i = 0; i < QLI_PANEL; i++) {
      rows[i * j->ld + c] = x[c * QLI_PANEL + i];
      negative[c * QLI_PANEL + i] = -x[c * QLI_PANEL + i];
    }
}

static void update_tile(void *arg, size_t index, size_t worker)
{
  const chol_job *j = arg;
  size_t row, col;
  (void)worker;
  qli_triangle_place(index, &row, &col);
  qli_tile_add(&j->ops, j->width, j->minus + row * QLI_PANEL * QLI_PANEL,
               j->plus + col * QLI_PANEL * QLI_PANEL, j->h + (row * j->ld + col) * QLI_PANEL, j->ld,
               QLI_PANEL, QLI_PANEL, row == col);
}

/* n when the whole matrix is factored, else the pivot that is not positive. */
static size_t factor(const ql_ctx *ctx, chol_job *j, size_t n)
{
  for (size_t end = n; end > 0; end = j->first) {
    j->first = (end - 1) / QLI_PANEL * QLI_PANEL;
    j->width = end - j->first;
    double *block = j->h + j->first * j->ld + j->first;
    const size_t pivot = factor_block(block, j->ld, j->width);
    if (pivot != j->width)
      return j->first + pivot;
    const size_t above = j->first / QLI_PANEL;
    qli_pack_f64(block, j->ld, 1, j->width, j->width, 1, j->coefficients);
    qli_parallel_for(ctx, above, solve_panel, j);
    qli_parallel_for(ctx, above * (above + 1) / 2, update_tile, j);
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

ql_status qli_chol_reverse(const ql_ctx *ctx, size_t n, double *h, size_t ld, size_t *pivot,
                           ql_error *error)
{
  const size_t panel = (size_t)QLI_PANEL * QLI_PANEL, count = qli_ceil_div(n, QLI_PANEL);
  double *scratch = qli_alloc(ctx, 2 * count + 1, panel * sizeof *scratch);
  if (scratch == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to factor a matrix of %zu", n);
  chol_job j = {.ops = qli_tile_ops_f64(ctx), .h = h, .ld = ld, .coefficients = scratch};
  j.plus = scratch + panel;
  j.minus = j.plus + count * panel;
  const size_t failed = factor(ctx, &j, n);
  qli_free(ctx, scratch);
  if (pivot != NULL)
    *pivot = failed;
  if (failed != n)
    return not_positive(failed, h[failed * ld + failed], error);
  clear_below(n, h, ld);
  return QL_STATUS_OK;
}
