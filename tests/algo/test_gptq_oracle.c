/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* GPTQ against the textbook, against the classical program's steps, and against greedy OBQ. */
#include "cm.h"
#include "textbook.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void compare_with_textbook(const ql_ctx *ctx, const layer *l, const setting *t)
{
  ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
  ql_gptq_report report = QL_GPTQ_REPORT_INIT;
  ql_qmat *q = NULL;
  grid.bits = t->bits;
  grid.kind = t->sym ? QL_GRID_SYM_CENTRED : QL_GRID_ASYM;
  grid.block_cols = t->group;
  config.order = t->order;
  config.damp = t->damp;
  config.static_grids = t->fixed;
  config.block = t->stale;
  if (t->stale) {
    grid.flags = QL_GRID_CLASSICAL;
    grid.scale_dtype = QL_DTYPE_F32;
  }
  assert_int_equal(ql_gptq_run(ctx, &l->w_tensor, l->stats, &grid, &config, &q, &report, NULL),
                   QL_STATUS_OK);
  textbook b = run_textbook(l, t);
  const ql_qmat_view v = view_of(q);
  double loss = 0;
  for (size_t i = 0; i < l->rows * l->cols; i++)
    assert_int_equal(v.codes[i], b.codes[i]);
  for (size_t r = 0; r < l->rows; r++)
    loss += b.loss[r];
  assert_true(fabs(report.loss - loss) <= 1e-9 * loss);
  free_textbook(&b);
  ql_qmat_destroy(q);
}

static const size_t shapes[][3] = {
    {5, 24, 8}, {3, 50, 16}, {40, 130, 32}, {7, 67, 100}, {2, 20, 7}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void test_textbook(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(QL_CTX_REPRODUCIBLE, NULL);
  for (size_t s = 0; s < SHAPES; s++)
    for (int inputs = 0; inputs < 2; inputs++) {
      layer l = make_layer(ctx, shapes[s][0], shapes[s][1], 3 * shapes[s][1] / 2, inputs, s + 3);
      for (int order = 0; order < 4; order++)
        for (int k = 0; k < 4; k++) {
          const int fixed = order == QL_GPTQ_ORDER_STATIC || k / 2;
          const setting t = {2 + (k + order) % 3, k % 2, shapes[s][2], order, fixed, 0, 0.01};
          compare_with_textbook(ctx, &l, &t);
        }
      free_layer(&l);
    }
  ql_ctx_destroy(ctx);
}

/* Nearly all codes are those of the textbook, the few others were on the edge between two levels,
 * and the loss is the same. */
static void compare_wide(const ql_ctx *ctx, const layer *l, const setting *t)
{
  textbook b = run_textbook(l, t);
  ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
  ql_gptq_report report = QL_GPTQ_REPORT_INIT;
  ql_qmat *q = NULL;
  grid.bits = t->bits;
  grid.kind = QL_GRID_ASYM;
  grid.block_cols = t->group;
  config.order = (ql_gptq_order)t->order;
  config.static_grids = t->fixed;
  assert_int_equal(ql_gptq_run(ctx, &l->w_tensor, l->stats, &grid, &config, &q, &report, NULL),
                   QL_STATUS_OK);
  const ql_qmat_view view = view_of(q);
  size_t other = 0;
  double loss = 0;
  for (size_t i = 0; i < l->rows * l->cols; i++)
    other += view.codes[i] != b.codes[i];
  for (size_t r = 0; r < l->rows; r++)
    loss += b.loss[r];
  assert_true(other <= l->rows * l->cols / 1000);
  assert_true(fabs(report.loss - loss) <= 1e-4 * loss);
  assert_true(report.loss_check < 1e-6);
  ql_qmat_destroy(q);
  free_textbook(&b);
}

/* Layers so wide that feedback and the factor go through f32: groups within a strip, longer than
 * one, of all columns, and grids that are found before. */
static void test_wide(void **state)
{
  (void)state;
  static const setting settings[] = {{3, 0, 100, QL_GPTQ_ORDER_NATURAL, 0, 0, 0.01},
                                     {3, 0, 300, QL_GPTQ_ORDER_GROUP_AWARE, 0, 0, 0.01},
                                     {3, 0, 700, QL_GPTQ_ORDER_NATURAL, 0, 0, 0.01},
                                     {3, 0, 128, QL_GPTQ_ORDER_STATIC, 1, 0, 0.01}};
  ql_ctx *ctx = plain_ctx(QL_CTX_REPRODUCIBLE, NULL);
  layer l = make_layer(ctx, 4, 700, 1500, INPUT_OUTLIERS, 11);
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
    compare_wide(ctx, &l, &settings[i]);
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* Both programs on inputs of which some columns are always zero; the weights there are large, so
 * that it shows where the grids are found before they are cleared, and the inputs are small, so
 * that counting a dead column as 1 changes the damping. */
static void test_dead(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(QL_CTX_REPRODUCIBLE, NULL);
  layer l = make_layer(ctx, 9, 66, 150, INPUT_CORRELATED, 40);
  for (size_t t = 0; t < l.tokens; t++)
    for (size_t c = 0; c < l.cols; c++)
      l.x[t * l.cols + c] *= c % 7 == 4 ? 0 : 0.25f;
  for (size_t r = 0; r < l.rows; r++)
    for (size_t c = 4; c < l.cols; c += 7)
      l.w[r * l.cols + c] *= 3;
  refresh_stats(ctx, &l);
  for (int order = 0; order < 4; order++)
    for (int k = 0; k < 8; k++) {
      const int classical = k & 1, fixed = order == QL_GPTQ_ORDER_STATIC;
      if (classical && order > QL_GPTQ_ORDER_ACT)
        continue; /* unknown to that program */
      const setting t = {3, k >> 1 & 1, k & 4 ? 66 : 16, order, fixed, classical ? 16 : 0, 0.05};
      compare_with_textbook(ctx, &l, &t);
    }
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* Stale group grids, f32 scales: the steps of the classical program. */
static void test_classical(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(QL_CTX_REPRODUCIBLE, NULL);
  for (size_t s = 0; s < SHAPES; s++) {
    layer l = make_layer(ctx, shapes[s][0], shapes[s][1], 2 * shapes[s][1], s % 2, s + 20);
    for (size_t block = 12; block <= 48; block += 12)
      for (int k = 0; k < 4; k++) {
        const setting t = {3, k % 2, shapes[s][2], k / 2, 0, block, 0.01};
        compare_with_textbook(ctx, &l, &t);
      }
    free_layer(&l);
  }
  ql_ctx_destroy(ctx);
}

/* --- OBQ: the weight with the smallest cost first, row by row (Frantar and others, 2022) --- */

enum { OBQ_MAX = 24 };

static size_t obq_choice(const setting *t, const double *w, const double *inverse, size_t n,
                         const char *done, double s, int z)
{
  size_t best = n;
  double least = INFINITY;
  for (size_t j = 0; j < n; j++) {
    const double e = w[j] - s * (nearest_code(t, w[j], s, z) - z);
    const double score = e * e / inverse[j * n + j];
    if (!done[j] && score < least) {
      least = score;
      best = j;
    }
  }
  return best;
}

/* forced: in the order of the columns. Returns the loss. */
static double obq_row(const double *h, size_t n, const setting *t, const double *weights,
                      int forced, int *codes)
{
  double inverse[OBQ_MAX * OBQ_MAX], w[OBQ_MAX], s, total = 0;
  char done[OBQ_MAX] = {0};
  int z;
  invert(h, n, inverse);
  memcpy(w, weights, n * sizeof *w);
  find_grid(t, w, n, &s, &z);
  for (size_t step = 0; step < n; step++) {
    const size_t best = forced ? step : obq_choice(t, w, inverse, n, done, s, z);
    codes[best] = nearest_code(t, w[best], s, z);
    const double e = w[best] - s * (codes[best] - z), pivot = inverse[best * n + best];
    total += e * e / pivot;
    done[best] = 1;
    for (size_t j = 0; j < n; j++)
      w[j] -= done[j] ? 0 : inverse[best * n + j] * e / pivot;
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++)
        if (i != best && j != best)
          inverse[i * n + j] -= inverse[i * n + best] * inverse[best * n + j] / pivot;
  }
  return total;
}

static void damped(const layer *l, double damp, double *h)
{
  double mean = 0;
  for (size_t c = 0; c < l->cols; c++)
    mean += l->h[c * l->cols + c] / (double)l->cols;
  memcpy(h, l->h, l->cols * l->cols * sizeof *h);
  for (size_t c = 0; c < l->cols; c++)
    h[c * l->cols + c] += damp * mean;
}

typedef struct {
  double ours, greedy, rtn; /* sums of logarithms */
  int count;
} tally;

static void compare_with_obq(const ql_ctx *ctx, size_t n, tally *sum)
{
  layer l = make_layer(ctx, 40, n, 4 * n, INPUT_CORRELATED, n);
  const setting t = {3, 0, n, 0, 0, 0, 0.01};
  ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
  ql_qmat *q = NULL, *rtn = NULL;
  grid.bits = t.bits;
  grid.kind = QL_GRID_ASYM;
  grid.block_cols = n;
  config.order = QL_GPTQ_ORDER_NATURAL;
  assert_int_equal(ql_gptq_run(ctx, &l.w_tensor, l.stats, &grid, &config, &q, NULL, NULL), 0);
  assert_int_equal(ql_rtn_run(ctx, &l.w_tensor, &grid, NULL, &rtn, NULL), QL_STATUS_OK);
  double h[OBQ_MAX * OBQ_MAX], w[OBQ_MAX], delta[OBQ_MAX], rounded[OBQ_MAX];
  double *values = values_of(q), *rtn_values = values_of(rtn);
  damped(&l, t.damp, h);
  for (size_t r = 0; r < l.rows; r++) {
    int codes[OBQ_MAX];
    for (size_t c = 0; c < n; c++) {
      w[c] = (double)l.w[r * n + c];
      delta[c] = w[c] - values[r * n + c];
      rounded[c] = w[c] - rtn_values[r * n + c];
    }
    sum->greedy += log(obq_row(h, n, &t, w, 0, codes));
    sum->ours += log(quadratic(h, n, delta));
    sum->rtn += log(quadratic(h, n, rounded));
    sum->count++;
    /* In one order OBQ and GPTQ are one algorithm. */
    obq_row(h, n, &t, w, 1, codes);
    for (size_t c = 0; c < n; c++)
      assert_int_equal(codes[c], view_of(q).codes[r * n + c]);
  }
  free(values);
  free(rtn_values);
  ql_qmat_destroy(q);
  ql_qmat_destroy(rtn);
  free_layer(&l);
}

static void test_obq(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(QL_CTX_REPRODUCIBLE, NULL);
  tally sum = {0}, unused = {0};
  compare_with_obq(ctx, 2, &unused);
  compare_with_obq(ctx, 3, &unused);
  for (size_t n = 9; n <= OBQ_MAX; n += 5)
    compare_with_obq(ctx, n, &sum);
  /* Geometric means: at most half again what greedy costs, and much less than RTN. */
  assert_true(exp((sum.ours - sum.greedy) / sum.count) < 1.5);
  assert_true(exp((sum.rtn - sum.ours) / sum.count) > 1.3);
  ql_ctx_destroy(ctx);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_textbook),  cmocka_unit_test(test_wide),
      cmocka_unit_test(test_classical), cmocka_unit_test(test_dead),
      cmocka_unit_test(test_obq),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
