/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_SOLVE_BODY_H
#define QLK_SOLVE_BODY_H

#include "qlk_solve.h"

/* Included once per ISA: plain C that compilers turn into vectors. */

/* Not fmin and fmax: like x < lo ? lo : x > hi ? hi : x for numbers. */
static inline double qlk_clamp(double x, double lo, double hi)
{
  const double raised = x < lo ? lo : x;
  return raised > hi ? hi : raised;
}

static void code(const qlk_points *restrict p, double lowest, double highest, double pivot,
                 double excess, const double *restrict w, const double *restrict fed,
                 double *restrict delta, uint8_t *restrict codes, qlk_losses *restrict sums)
{
  double level[QLK_PANEL];
  for (size_t i = 0; i < QLK_PANEL; i++) {
    const double scale = p->scale[i], zero = p->zero[i], fzero = p->fzero[i];
    const double target = w[i] + fed[i] / pivot;
    const double exact = qlk_clamp(target / scale + fzero, lowest - zero, highest - zero);
    const double step = (exact + 0x1.8p52) - 0x1.8p52; /* the nearest integer */
    const double value = (double)(float)(scale * (step - fzero));
    const double scaled = (target - value) * pivot, left = w[i] - value, square = left * left;
    level[i] = step + zero;
    delta[i] = left;
    sums->loss[i] += scaled * scaled;
    sums->sse[i] += square;
    sums->excess[i] += excess * square;
  }
  for (size_t i = 0; i < QLK_PANEL; i++)
    codes[i] = (uint8_t)(int32_t)level[i];
}

static void spread(size_t count, const double *restrict r, const double *restrict known,
                   double *restrict x)
{
  for (size_t j = 0; j < count; j++, x += QLK_PANEL) {
    const double coefficient = r[j];
    for (size_t i = 0; i < QLK_PANEL; i++)
      x[i] += known[i] * coefficient;
  }
}

static void divide(double pivot, double *restrict x, double *restrict negative)
{
  for (size_t i = 0; i < QLK_PANEL; i++) {
    x[i] /= pivot;
    negative[i] = -x[i];
  }
}

static void narrow(size_t n, const double *restrict x, float *restrict y)
{
  for (size_t i = 0; i < n; i++)
    y[i] = (float)x[i];
}

#endif
