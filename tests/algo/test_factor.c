/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "factor.h"
#include "fixture.h"
#include "linalg.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* More columns than QLI_FACTOR_NARROW: far products are in f32 where that cannot matter. */
enum { COLS = 620, GROUP = 50 };

static ql_gptq_factor *make(const ql_ctx *ctx, const layer *l, ql_gptq_order order, double damp)
{
  ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
  ql_gptq_factor *f = NULL;
  config.order = order;
  config.damp = damp;
  assert_int_equal(ql_gptq_factor_create(ctx, l->stats, GROUP, &config, &f, NULL), QL_STATUS_OK);
  return f;
}

/* The factor of the same matrix, all of it in f64, and H below the diagonal. */
static double *exact_factor(const ql_ctx *ctx, const layer *l, const ql_gptq_factor *f)
{
  double *r = malloc(sizeof(double) * COLS * COLS);
  assert_non_null(r);
  for (size_t i = 0; i < COLS; i++)
    for (size_t k = 0; k < COLS; k++)
      r[i * COLS + k] = l->h[f->perm[i] * COLS + f->perm[k]] + (i == k ? f->lambda : 0);
  assert_int_equal(qli_chol_reverse(ctx, COLS, r, COLS, NULL, NULL), QL_STATUS_OK);
  for (size_t i = 0; i < COLS; i++)
    for (size_t k = 0; k < i; k++)
      r[i * COLS + k] = l->h[f->perm[i] * COLS + f->perm[k]];
  return r;
}

static double largest_difference(const ql_gptq_factor *f, const double *r)
{
  double worst = 0;
  for (size_t i = 0; i < COLS; i++) {
    assert_memory_equal(f->matrix + i * COLS, r + i * COLS, i * sizeof *r);
    for (size_t k = i; k < COLS; k++)
      worst = fmax(worst, fabs(f->matrix[i * COLS + k] - r[i * COLS + k]) / r[i * COLS + i]);
  }
  return worst;
}

/* Ordinary layers: the factor is that of H to the accuracy of H itself. */
static void test_narrow(void **state)
{
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 4, COLS, 1300, INPUT_OUTLIERS, 1);
  (void)state;
  for (int order = QL_GPTQ_ORDER_NATURAL; order <= QL_GPTQ_ORDER_GROUP_AWARE; order++) {
    ql_gptq_factor *f = make(ctx, &l, (ql_gptq_order)order, 0.01);
    double *r = exact_factor(ctx, &l, f);
    const double worst = largest_difference(f, r);
    assert_true(worst < 1e-5 && worst > 1e-12);
    free(r);
    ql_gptq_factor_destroy(f);
  }
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* Inputs that have nearly everything in common, hardly damped: f64 throughout. */
static void test_guard(void **state)
{
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 4, COLS, 1300, INPUT_CORRELATED, 2);
  uint64_t seed = 3;
  (void)state;
  for (size_t t = 0; t < l.tokens; t++) {
    const double common = 30 * normal(&seed);
    for (size_t c = 0; c < COLS; c++)
      l.x[t * COLS + c] += (float)common;
  }
  refresh_stats(ctx, &l);
  ql_gptq_factor *f = make(ctx, &l, QL_GPTQ_ORDER_ACT, 1e-4);
  double *r = exact_factor(ctx, &l, f);
  assert_int_equal(f->outcome, QL_GPTQ_DONE);
  assert_memory_equal(f->matrix, r, sizeof(double) * COLS * COLS);
  free(r);
  ql_gptq_factor_destroy(f);
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_narrow),
      cmocka_unit_test(test_guard),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
