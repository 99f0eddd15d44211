/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* The classical grid bit for bit, against its steps written down once more in f32. */
#include "find.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N = 48 };

static uint64_t seed = 0x9e3779b97f4a7c15u;

static float uniform(void)
{
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (float)(seed >> 40) * 0x1p-24f;
}

typedef struct {
  float scale, zero;
} reference;

static float quantized(float x, reference p, int maxq)
{
  float q = nearbyintf(x / p.scale) + p.zero;
  q = q < 0 ? 0 : q;
  q = q > (float)maxq ? (float)maxq : q;
  return p.scale * (q - p.zero);
}

static reference find_reference(const float *x, int bits, int sym, int mse, double norm)
{
  const int maxq = (1 << bits) - 1;
  float xmin = 0, xmax = 0;
  for (int i = 0; i < N; i++) {
    xmin = fminf(xmin, x[i]);
    xmax = fmaxf(xmax, x[i]);
  }
  if (sym) {
    xmax = fmaxf(fabsf(xmin), xmax);
    if (xmin < 0)
      xmin = -xmax;
  }
  if (xmin == 0 && xmax == 0) {
    xmin = -1;
    xmax = 1;
  }
  reference best;
  best.scale = (xmax - xmin) / (float)maxq;
  best.zero = sym ? (float)(maxq + 1) / 2 : nearbyintf(-xmin / best.scale);
  double least = INFINITY;
  for (int i = 0; mse && i < (int)(0.8 * 100); i++) {
    const float p = (float)(1 - i / 100.0);
    reference c;
    c.scale = (p * xmax - p * xmin) / (float)maxq;
    c.zero = sym ? best.zero : nearbyintf(-(p * xmin) / c.scale);
    double error = 0;
    for (int k = 0; k < N; k++)
      error += (double)(float)pow((double)fabsf(quantized(x[k], c, maxq) - x[k]), norm);
    if (error < least) {
      least = error;
      best = c;
    }
  }
  return best;
}

static void check(const float *x, int bits, int sym, int mse, double norm)
{
  ql_grid_config c = QL_GRID_CONFIG_INIT;
  qli_grid g;
  qli_point p;
  double wide[N];
  for (int i = 0; i < N; i++)
    wide[i] = (double)x[i];
  c.bits = bits;
  c.kind = sym ? QL_GRID_SYM_CENTRED : QL_GRID_ASYM;
  c.scale_dtype = QL_DTYPE_F32;
  c.flags = QL_GRID_CLASSICAL;
  c.mse_norm = mse ? norm : 0;
  assert_int_equal(qli_grid_resolve(&c, 1, N, &g, NULL), QL_STATUS_OK);
  const qli_cells cells = {wide, 1, N, N, NULL};
  assert_true(qli_grid_find(&g, &cells, &p));
  const reference r = find_reference(x, bits, sym, mse, norm);
  assert_true(p.scale == r.scale);
  assert_true((float)p.zero == r.zero);
  for (int i = 0; i < N; i++) {
    const int code = qli_grid_code(&g, p, wide[i]);
    assert_true(p.scale * (float)(code - p.zero) == quantized(x[i], r, g.maxq));
  }
}

static void test_bit_for_bit(void **state)
{
  (void)state;
  float x[N];
  for (int round = 0; round < 400; round++) {
    for (int i = 0; i < N; i++) {
      const float v = (uniform() + uniform() + uniform() - 1.5f) * exp2f((float)(round % 23 - 15));
      x[i] = round % 4 == 1 ? fabsf(v) : round % 4 == 2 ? -fabsf(v) : round % 37 == 0 ? 0 : v;
    }
    for (int bits = 2; bits <= 8; bits++)
      for (int sym = 0; sym < 2; sym++) {
        check(x, bits, sym, 0, 0);
        if (bits < 5)
          check(x, bits, sym, 1, round % 2 ? 2.0 : 2.4);
      }
  }
}

/* The defect that gives the flag its reason: without negative weights half of the codes are lost;
 * the library's own grid reaches the whole range. */
static void test_one_sided(void **state)
{
  (void)state;
  ql_grid_config c = QL_GRID_CONFIG_INIT;
  const double x[2] = {0.25, 1.0};
  const qli_cells cells = {x, 1, 2, 2, NULL};
  qli_grid g;
  qli_point p;
  for (int classical = 0; classical < 2; classical++) {
    c.flags = classical ? QL_GRID_CLASSICAL : 0;
    assert_int_equal(qli_grid_resolve(&c, 1, 2, &g, NULL), QL_STATUS_OK);
    assert_true(qli_grid_find(&g, &cells, &p));
    const double most = qli_grid_value(p, 15);
    assert_true(classical ? fabs(most - 7.0 / 15) < 1e-6 : fabs(most - 14.0 / 15) < 1e-3);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bit_for_bit),
      cmocka_unit_test(test_one_sided),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
