/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kcheck.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The steps of the solvers, to the bit, against formulas that are written here anew. */

enum { CODE, SPREAD, DIVIDE, NARROW, SLOTS, N = QLK_PANEL };

typedef struct {
  const qlk_solve *t;
  int which;
  const qlk_points *points;
  double lowest, highest, pivot, excess;
  const double *w, *fed;
  double *delta, *x;
  uint8_t *codes;
  qlk_losses *sums;
  size_t n;
  float *narrow;
} call;

static void run(void *arg)
{
  const call *c = arg;
  switch (c->which) {
  case CODE:
    c->t->code(c->points, c->lowest, c->highest, c->pivot, c->excess, c->w, c->fed, c->delta,
               c->codes, c->sums);
    break;
  case SPREAD: c->t->spread(c->n, c->w, c->fed, c->x); break;
  case DIVIDE: c->t->divide(c->pivot, c->x, c->delta); break;
  default: c->t->narrow(c->n, c->w, c->narrow); break;
  }
}

static double *doubles(kc *k, size_t n)
{
  double *x = kc_memory(k, n * sizeof *x, 8);
  for (size_t i = 0; i < n; i++)
    x[i] = (kc_unit(k) - 0.5) * ldexp(1, (int)kc_below(k, 8) - 4);
  return x;
}

static void same_doubles(kc *k, const double *got, const double *want, size_t n)
{
  kc_same_bytes(k, got, want, n * sizeof *got);
}

/* Grids of 2 to 8 bits; every third weight lies in the middle between two points, on a grid whose
 * arithmetic is exact. */
static void check_code(kc *k, call *c, size_t number)
{
  const int levels = 1 << (2 + number % 7);
  qlk_points *p = kc_memory(k, sizeof *p, 8);
  qlk_losses *sums = kc_memory(k, sizeof *sums, 8), want;
  double *w = doubles(k, N), *fed = doubles(k, N), value[N];
  uint8_t code[N];
  c->lowest = (double)(number % 2);
  c->highest = levels - 1;
  c->pivot = 0.25 + (double)kc_below(k, 4);
  c->excess = kc_unit(k);
  for (size_t i = 0; i < N; i++) {
    const bool tie = i % 3 == 0;
    const double scale = tie ? 0.125 : (double)(float)(0.01 + 0.2 * kc_unit(k));
    p->scale[i] = number % 5 == 4 ? -scale : scale;
    p->zero[i] = (double)kc_below(k, (size_t)levels);
    p->fzero[i] = !tie && number % 3 == 2 ? (double)(float)(kc_unit(k) * 3) : 0;
    if (tie) {
      w[i] = ((double)kc_below(k, 2 * (size_t)levels) - levels + 0.5) * p->scale[i];
      fed[i] = 0;
    }
    sums->loss[i] = sums->sse[i] = sums->excess[i] = kc_unit(k);
    const double target = w[i] + fed[i] / c->pivot;
    const double low = c->lowest - p->zero[i], high = c->highest - p->zero[i];
    const double place = fmin(fmax(target / p->scale[i] + p->fzero[i], low), high);
    const double step = nearbyint(place);
    value[i] = (float)(p->scale[i] * (step - p->fzero[i]));
    code[i] = (uint8_t)(int)(step + p->zero[i]);
    const double scaled = (target - value[i]) * c->pivot, left = w[i] - value[i];
    want.loss[i] = sums->loss[i] + scaled * scaled;
    want.sse[i] = sums->sse[i] + left * left;
    want.excess[i] = sums->excess[i] + c->excess * (left * left);
    value[i] = left;
  }
  c->points = p;
  c->sums = sums;
  c->w = w;
  c->fed = fed;
  c->delta = kc_memory(k, N * sizeof *c->delta, 8);
  c->codes = kc_memory(k, N, 1);
  if (!kc_run(k, run, c))
    return;
  kc_same_bytes(k, c->codes, code, N);
  same_doubles(k, c->delta, value, N);
  kc_same_bytes(k, sums, &want, sizeof want);
}

static void check_spread(kc *k, call *c, size_t number)
{
  double *want = malloc((N * number + 1) * sizeof *want);
  c->n = number;
  c->w = doubles(k, number);
  c->fed = doubles(k, N);
  c->x = doubles(k, N * number);
  for (size_t i = 0; i < N * number; i++) {
    const volatile double product = c->fed[i % N] * c->w[i / N];
    want[i] = c->x[i] + product;
  }
  if (kc_run(k, run, c))
    same_doubles(k, c->x, want, N * number);
  free(want);
}

static void check_divide(kc *k, call *c)
{
  double want[N], minus[N];
  c->pivot = 0.1 + kc_unit(k);
  c->x = doubles(k, N);
  c->delta = kc_memory(k, N * sizeof *c->delta, 8);
  for (size_t i = 0; i < N; i++) {
    want[i] = c->x[i] / c->pivot;
    minus[i] = -want[i];
  }
  if (kc_run(k, run, c)) {
    same_doubles(k, c->x, want, N);
    same_doubles(k, c->delta, minus, N);
  }
}

static void check_narrow(kc *k, call *c, size_t number)
{
  float *want = malloc((number + 1) * sizeof *want);
  c->n = number;
  c->w = doubles(k, number);
  c->narrow = kc_memory(k, number * sizeof *c->narrow, 4);
  for (size_t i = 0; i < number; i++)
    want[i] = (float)c->w[i];
  if (kc_run(k, run, c))
    kc_same_f32(k, c->narrow, want, 1, number, number);
  free(want);
}

static void check_slot(kc *k, const qlk_solve *t, int which)
{
  for (size_t i = 0; i < 100; i++) {
    call c = {.t = t, .which = which};
    kc_begin(k, i, "case %zu", i);
    switch (which) {
    case CODE: check_code(k, &c, i); break;
    case SPREAD: check_spread(k, &c, i % 20); break;
    case DIVIDE: check_divide(k, &c); break;
    default: check_narrow(k, &c, i); break;
    }
    kc_end(k);
  }
}

static void bench(kc *k, const qlk_solve *t, int which)
{
  const size_t n = which == SPREAD ? 8 : N;
  call c = {.t = t, .which = which, .n = n, .lowest = 0, .highest = 15, .pivot = 1};
  kc_begin(k, 0, "%zu columns of %d rows", which == SPREAD ? n : (size_t)1, N);
  qlk_points *p = kc_memory(k, sizeof *p, 64);
  for (size_t i = 0; i < N; i++) {
    p->scale[i] = 0.1;
    p->zero[i] = 8;
    p->fzero[i] = 0;
  }
  c.points = p;
  c.sums = kc_memory(k, sizeof *c.sums, 64);
  memset(c.sums, 0, sizeof *c.sums);
  c.w = doubles(k, N);
  c.fed = doubles(k, N);
  c.x = doubles(k, N * n);
  c.delta = doubles(k, N);
  c.codes = kc_memory(k, N, 1);
  c.narrow = kc_memory(k, N * sizeof *c.narrow, 64);
  kc_bench_line(k, kc_time(run, &c), which == SPREAD ? 2.0 * N * (double)n : 0, 0);
  k->buffers = 0;
}

void kc_check_solve(kc *k, const qlk_table *scalar, const qlk_table *below, const qlk_table *here)
{
  static const char *const names[SLOTS] = {"solve.code", "solve.spread", "solve.divide",
                                           "solve.narrow"};
  const qlk_solve *t = &here->solve;
  const void *slots[SLOTS] = {&t->code, &t->spread, &t->divide, &t->narrow};
  (void)scalar;
  for (int which = 0; which < SLOTS; which++) {
    const ptrdiff_t at = (const char *)slots[which] - (const char *)here;
    if (!kc_wants(k, names[which], slots[which], below ? (const char *)below + at : NULL,
                  sizeof(void (*)(void))))
      continue;
    if (k->bench)
      bench(k, t, which);
    else
      check_slot(k, t, which);
  }
}
