/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "ctx.h"
#include "linalg_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The register tiles of every ISA against loops: ordered ones to the bit, fused ones to the bit of
 * fma() where the ISA fuses. Elements of C beyond the tile stay as they were. */

enum { DEPTH = 37, LDC = 61 };

typedef struct {
  double *a64, *b64;
  float *a32, *b32;
} operands;

static float step_f32(float c, float a, float b, int fused)
{
  return fused ? fmaf(a, b, c) : c + a * b;
}

static double step_f64(double c, double a, double b, int fused)
{
  return fused ? fma(a, b, c) : c + a * b;
}

static int check_f32(const qlk_tile_f32 *t, const operands *o, size_t depth, int fused)
{
  float *c = random_f32(t->mr * LDC, 3), *want = random_f32(t->mr * LDC, 3);
  double *wide = random_f64(t->mr * LDC, 4), *want_wide = random_f64(t->mr * LDC, 4);
  const float *a = o->a32 + t->mr, *b = o->b32 + t->nr;
  for (size_t i = 0; i < t->mr; i++)
    for (size_t j = 0; j < t->nr; j++) {
      float sum = 0;
      for (size_t d = 0; d < depth; d++) {
        const float x = a[d * QLK_PANEL + i], y = b[d * QLK_PANEL + j];
        want[i * LDC + j] = step_f32(want[i * LDC + j], x, y, fused);
        sum = step_f32(sum, x, y, fused);
      }
      want_wide[i * LDC + j] += (double)sum;
    }
  t->add(depth, a, b, c, LDC);
  t->add_wide(depth, a, b, wide, LDC);
  const int same = memcmp(c, want, t->mr * LDC * sizeof *c) == 0 &&
                   memcmp(wide, want_wide, t->mr * LDC * sizeof *wide) == 0;
  free(c), free(want), free(wide), free(want_wide);
  return same;
}

static int check_f64(const qlk_tile_f64 *t, const operands *o, size_t depth, int fused)
{
  double *c = random_f64(t->mr * LDC, 3), *want = random_f64(t->mr * LDC, 3);
  const double *a = o->a64 + t->mr, *b = o->b64 + t->nr;
  for (size_t i = 0; i < t->mr; i++)
    for (size_t j = 0; j < t->nr; j++)
      for (size_t d = 0; d < depth; d++)
        want[i * LDC + j] =
            step_f64(want[i * LDC + j], a[d * QLK_PANEL + i], b[d * QLK_PANEL + j], fused);
  t->add(depth, a, b, c, LDC);
  const int same = memcmp(c, want, t->mr * LDC * sizeof *c) == 0;
  free(c), free(want);
  return same;
}

static void check_shape(size_t mr, size_t nr)
{
  assert_int_equal(QLK_PANEL % mr, 0);
  assert_int_equal(QLK_PANEL % nr, 0);
  assert_true(mr * nr <= QLK_REG_TILE);
}

static void check_isa(const char *name, const operands *o)
{
  const int fuses = strcmp(name, "scalar") != 0;
  workers w = workers_start(1, name, 0);
  const qlk_linalg *t = &w.ctx->kernels.linalg;
  check_shape(t->f32.mr, t->f32.nr);
  check_shape(t->f32_ordered.mr, t->f32_ordered.nr);
  check_shape(t->f64.mr, t->f64.nr);
  check_shape(t->f64_ordered.mr, t->f64_ordered.nr);
  for (size_t depth = 0; depth <= DEPTH; depth += DEPTH / 2) {
    assert_true(check_f32(&t->f32, o, depth, fuses));
    assert_true(check_f32(&t->f32_ordered, o, depth, 0));
    assert_true(check_f64(&t->f64, o, depth, fuses));
    assert_true(check_f64(&t->f64_ordered, o, depth, 0));
  }
  workers_stop(w);
}

static void test_every_isa(void **state)
{
  const size_t count = QLK_PANEL * (DEPTH + 1);
  operands o = {random_f64(count, 1), random_f64(count, 2), random_f32(count, 1),
                random_f32(count, 2)};
  int32_t runnable;
  (void)state;
  for (size_t i = 0; ql_isa_list(i, &runnable) != NULL; i++) {
    if (runnable)
      check_isa(ql_isa_list(i, NULL), &o);
    else
      printf("not run here: %s\n", ql_isa_list(i, NULL));
  }
  free(o.a64), free(o.b64), free(o.a32), free(o.b32);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_isa)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
