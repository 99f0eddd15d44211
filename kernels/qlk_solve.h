/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_SOLVE_H
#define QLK_SOLVE_H

#include "qlk_linalg.h"

/* What the solvers do between two products, for QLK_PANEL rows of weights side by side: arrays of
 * a column hold one element for each row. Class exact: no sum runs over rows, and each operation is
 * rounded by itself, so that all ISAs give the same bits. Arrays do not overlap. */

/* The grid points of the rows: a value is scale * (code - zero - fzero), rounded to f32. */
typedef struct qlk_points {
  double scale[QLK_PANEL], zero[QLK_PANEL], fzero[QLK_PANEL];
} qlk_points;

/* Sums of the rows over the columns so far. */
typedef struct qlk_losses {
  double loss[QLK_PANEL], sse[QLK_PANEL], excess[QLK_PANEL];
} qlk_losses;

typedef struct qlk_solve {
  /* Codes of one column, ties to even: of w + fed / pivot. delta: w less the value.
   * The losses grow by ((w + fed / pivot - value) pivot)^2, delta^2 and excess delta^2. */
  void (*code)(const qlk_points *points, double lowest, double highest, double pivot, double excess,
               const double *w, const double *fed, double *delta, uint8_t *codes, qlk_losses *sums);
  /* x[j * QLK_PANEL + i] += known[i] * r[j] for j < count: multiply, then add */
  void (*spread)(size_t count, const double *r, const double *known, double *x);
  /* x[i] /= pivot, negative[i] = -x[i] */
  void (*divide)(double pivot, double *x, double *negative);
  /* y[i] = x[i] rounded to f32, of n elements */
  void (*narrow)(size_t n, const double *x, float *y);
} qlk_solve;

/* Of every level of the table, built or not. */
#define QLK_ISA(name, NAME, parent, by_default, ...) void qlk_fill_solve_##name(qlk_solve *t);
#include "qlk_isas.def"
#undef QLK_ISA

#endif
