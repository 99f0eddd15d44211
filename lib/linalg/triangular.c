/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "linalg.h"

#include "checked.h"
#include "error.h"
#include "tile.h"

#include <string.h>

/* Columns that substitution handles one by one between two products. */
enum { STEP = 16 };

void qli_tri_upper_inverse(size_t n, const double *r, size_t ldr, double *inverse, size_t ldi)
{
  /* From R U = I: R[i][i] U[i] = e_i - sum over k > i of R[i][k] U[k], rows from the last up. */
  for (size_t i = n; i-- > 0;) {
    double *row = inverse + i * ldi;
    const double *coefficients = r + i * ldr;
    memset(row, 0, n * sizeof *row);
    for (size_t k = i + 1; k < n; k++) {
      const double *other = inverse + k * ldi;
      for (size_t j = k; j < n; j++)
        row[j] -= coefficients[k] * other[j];
    }
    row[i] = 1.0;
    for (size_t j = i; j < n; j++)
      row[j] /= coefficients[i];
  }
}

typedef struct {
  qli_tile_ops ops;
  size_t m, n;
  const double *r;
  size_t ldr;
  double *b;
  size_t ldb;
  double *coefficients; /* panels of -R: (k, c) = -R[k][c] */
  double *unknowns;     /* n x QLI_PANEL for each worker: a panel of rows of B, column by column */
} solve_job;

static void pack_coefficients(void *arg, size_t index, size_t worker)
{
  const solve_job *j = arg;
  const size_t first = index * QLI_PANEL;
  (void)worker;
  qli_pack_f64(j->r + first, 1, j->ldr, qli_min_size(QLI_PANEL, j->n - first), j->n, 1,
               j->coefficients + index * QLI_PANEL * j->n);
}

/* Columns first..end-1, whose contributions from columns before first are already subtracted. */
static void substitute(const solve_job *j, size_t first, size_t end, double *x)
{
  for (size_t c = first; c < end; c++) {
    double *known = x + c * QLI_PANEL;
    const double *row = j->r + c * j->ldr;
    for (size_t i = 0; i < QLI_PANEL; i++)
      known[i] /= row[c];
    for (size_t later = c + 1; later < end; later++) {
      double *unknown = x + later * QLI_PANEL;
      for (size_t i = 0; i < QLI_PANEL; i++)
        unknown[i] -= row[later] * known[i];
    }
  }
}

/* Subtracts what columns first..end-1 contribute to all later ones. */
static void eliminate(const solve_job *j, size_t first, size_t end, double *x)
{
  for (size_t c = end; c < j->n;) {
    const size_t offset = c % QLI_PANEL, count = qli_min_size(QLI_PANEL - offset, j->n - c);
    const double *panel = j->coefficients + (c - offset) * j->n;
    qli_tile_add(&j->ops, end - first, panel + first * QLI_PANEL + offset, x + first * QLI_PANEL,
                 x + c * QLI_PANEL, QLI_PANEL, count, QLI_PANEL, 0);
    c += count;
  }
}

static void solve_rows(void *arg, size_t index, size_t worker)
{
  const solve_job *j = arg;
  const size_t row = index * QLI_PANEL, rows = qli_min_size(QLI_PANEL, j->m - row);
  double *b = j->b + row * j->ldb, *x = j->unknowns + worker * QLI_PANEL * j->n;
  qli_pack_f64(b, j->ldb, 1, rows, j->n, 0, x);
  for (size_t first = 0; first < j->n; first += STEP) {
    const size_t end = qli_min_size(first + STEP, j->n);
    substitute(j, first, end, x);
    eliminate(j, first, end, x);
  }
  for (size_t i = 0; i < rows; i++)
    for (size_t c = 0; c < j->n; c++)
      b[i * j->ldb + c] = x[c * QLI_PANEL + i];
}

ql_status qli_tri_upper_solve(const ql_ctx *ctx, size_t m, size_t n, const double *r, size_t ldr,
                              double *b, size_t ldb, ql_error *error)
{
  solve_job j = {qli_tile_ops_f64(ctx), m, n, r, ldr, b, ldb, NULL, NULL};
  const size_t panels = qli_ceil_div(n, QLI_PANEL);
  if (m == 0 || n == 0)
    return QL_STATUS_OK;
  j.coefficients = qli_alloc(ctx, panels + ctx->executor.max_workers, QLI_PANEL * n * sizeof *b);
  if (j.coefficients == NULL)
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory to solve with a triangle of %zu", n);
  j.unknowns = j.coefficients + panels * QLI_PANEL * n;
  qli_parallel_for(ctx, panels, pack_coefficients, &j);
  qli_parallel_for(ctx, qli_ceil_div(m, QLI_PANEL), solve_rows, &j);
  qli_free(ctx, j.coefficients);
  return QL_STATUS_OK;
}
