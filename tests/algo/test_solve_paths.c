/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* Beam and Klein. */
#include "cm.h"
#include "solve.h"
#include "solve_case.h"
#include "textbook.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A single path is GPTQ, code for code, and counts the same loss. */
static void test_one_path(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 30, 90, 300, INPUT_OUTLIERS, 15);
  const ql_grid_config grid_config = make_options(3, QL_GRID_ASYM, 32, 0).grid;
  ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
  ql_gptq_factor *factor = NULL;
  qli_gptq_plan plan;
  qli_grid grid;
  config.order = QL_GPTQ_ORDER_STATIC;
  assert_int_equal(ql_gptq_factor_create(ctx, l.stats, 32, &config, &factor, NULL), QL_STATUS_OK);
  assert_int_equal(qli_grid_resolve(&grid_config, 30, 90, &grid, NULL), QL_STATUS_OK);
  assert_int_equal(qli_gptq_plan_make(ctx, &l.w_tensor, factor, &grid, &config, &plan, NULL),
                   QL_STATUS_OK);
  uint8_t codes[30 * 90], first[30 * 90];
  qli_point points[30 * 3];
  qli_gptq_sums sums[30];
  double losses[30], *space = calloc(30 * 90, sizeof *space);
  bool taken[30] = {false};
  qli_gptq_chunk chunk = {.plan = &plan, .grid = &grid, .rows = 30};
  chunk.d = space;
  chunk.points = points;
  chunk.codes = codes;
  chunk.sums = sums;
  qli_tile_result failed;
  assert_int_equal(qli_gptq_chunk_run(&chunk, 0, 1, &failed, NULL), QL_STATUS_OK);
  memcpy(first, codes, sizeof codes);
  memset(codes, 0, sizeof codes);
  for (int r = 0; r < 30; r++) {
    losses[r] = sums[r].loss;
    sums[r].loss = INFINITY;
  }
  qli_solve_paths job = {.chunk = &chunk, .paths = 1, .temperature = 1, .taken = taken};
  assert_int_equal(qli_solve_walk(&job, NULL), QL_STATUS_OK);
  assert_memory_equal(codes, first, sizeof codes);
  for (int r = 0; r < 30; r++)
    assert_true(taken[r] && close_to(sums[r].loss, losses[r], 1e-12));
  free(space);
  qli_gptq_plan_free(&plan);
  ql_gptq_factor_destroy(factor);
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* A beam that holds every path finds the least loss of all codes. */
static void test_whole_beam(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  int walked = 0;
  for (uint64_t seed = 0; seed < 100; seed++) {
    layer l = make_layer(ctx, 1, 3, 40, INPUT_CORRELATED, 200 + seed);
    options o = make_options(2, QL_GRID_ASYM, 0, QL_GPTQ_ORDER_STATIC);
    o.config.damp = o.config.descent_damp;
    o.config.rounds = 0;
    o.config.beam = 16;
    ql_solve_report report = QL_SOLVE_REPORT_INIT;
    ql_qmat *q = solve(ctx, &l, &o, &report);
    const double least = least_loss(&l, q, 0, o.config.damp * mean_diag(&l));
    assert_true(close_to(report.loss, least, 1e-9));
    walked += report.walked > 0;
    ql_qmat_destroy(q);
    free_layer(&l);
  }
  assert_true(walked > 0);
  ql_ctx_destroy(ctx);
}

typedef struct {
  double loss, delta[16];
} kept_path;

static int by_loss(const void *a, const void *b)
{
  const kept_path *x = a, *y = b;
  return (x->loss > y->loss) - (x->loss < y->loss);
}

/* K-best as it is defined: all continuations, sorted. upper: U with (H + lambda)^-1 = U^T U. */
static double plain_beam(const layer *l, const ql_qmat *q, const textbook *b, int beam)
{
  const ql_qmat_view v = view_of(q);
  static kept_path kept[8], next[64];
  int alive = 1;
  memset(kept, 0, sizeof kept);
  for (size_t k = 0; k < l->cols; k++) {
    int count = 0;
    for (int i = 0; i < alive; i++)
      for (int code = 0; code < 8; code++) {
        kept_path path = kept[i];
        double fed = (double)l->w[k];
        for (size_t j = 0; j < k; j++)
          fed -= path.delta[j] * b->inverse[j * l->cols + k];
        const double value = (double)v.scales[0] * (code - v.zeros[0]);
        path.delta[k] = (fed - value) / b->inverse[k * l->cols + k];
        path.loss += path.delta[k] * path.delta[k];
        next[count++] = path;
      }
    qsort(next, (size_t)count, sizeof *next, by_loss);
    alive = count < beam ? count : beam;
    memcpy(kept, next, (size_t)alive * sizeof *kept);
  }
  return kept[0].loss;
}

/* A beam finds what K-best finds by its definition, with the textbook's factor. */
static void test_plain_beam(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  for (uint64_t seed = 0; seed < 20; seed++) {
    layer l = make_layer(ctx, 1, 14, 60, INPUT_CORRELATED, 300 + seed);
    const setting t = {
        .bits = 3, .group = 14, .order = QL_GPTQ_ORDER_NATURAL, .fixed = 1, .damp = 0.02};
    textbook book = run_textbook(&l, &t);
    options o = make_options(3, QL_GRID_ASYM, 0, QL_GPTQ_ORDER_NATURAL);
    o.config.damp = o.config.descent_damp = 0.02;
    o.config.rounds = 0;
    o.config.search = QL_SOLVE_SEARCH_RANGE;
    ql_solve_report gptq = QL_SOLVE_REPORT_INIT, report = QL_SOLVE_REPORT_INIT;
    ql_qmat_destroy(solve(ctx, &l, &o, &gptq));
    for (int beam = 2; beam < 6; beam++) {
      o.config.beam = beam;
      ql_qmat *q = solve(ctx, &l, &o, &report);
      const double expected = plain_beam(&l, q, &book, beam);
      assert_true(close_to(report.loss, fmin(expected, gptq.loss), 1e-8));
      ql_qmat_destroy(q);
    }
    free_textbook(&book);
    free_layer(&l);
  }
  ql_ctx_destroy(ctx);
}

/* Rows that are alike do not draw alike. */
static void test_random_rows(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 40, 60, 300, INPUT_CORRELATED, 17);
  for (size_t r = 1; r < l.rows; r++)
    memcpy(l.w + r * l.cols, l.w, l.cols * sizeof *l.w);
  options o = make_options(2, QL_GRID_ASYM, 0, QL_GPTQ_ORDER_NATURAL);
  o.config.rounds = 0;
  ql_qmat *plain = solve(ctx, &l, &o, NULL);
  o.config.klein = 5;
  o.config.temperature = 0.1;
  ql_qmat *q = solve(ctx, &l, &o, NULL);
  const uint8_t *codes = view_of(q).codes, *first = view_of(plain).codes;
  int walked = 0;
  for (size_t shift = 1; shift < 20; shift++) {
    int pairs = 0, same = 0;
    for (size_t r = shift; r < l.rows; r++) {
      const uint8_t *a = codes + r * l.cols, *b = codes + (r - shift) * l.cols;
      if (memcmp(a, first, l.cols) == 0 || memcmp(b, first, l.cols) == 0)
        continue;
      pairs++;
      same += memcmp(a, b, l.cols) == 0;
    }
    walked += pairs;
    assert_true(2 * same <= pairs);
  }
  assert_true(walked > 40);
  ql_qmat_destroy(plain);
  ql_qmat_destroy(q);
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* Paths only ever help, are what they say, and depend on the seed alone. */
static void test_paths(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 50, 150, 300, INPUT_OUTLIERS, 16);
  for (int order = 0; order < 4; order++)
    for (int klein = 0; klein < 2; klein++) {
      options o = make_options(3, QL_GRID_ASYM, 32, order);
      ql_solve_report start = QL_SOLVE_REPORT_INIT, report = QL_SOLVE_REPORT_INIT;
      o.config.damp = o.config.descent_damp = 0.02;
      o.config.rounds = 0;
      ql_qmat_destroy(solve(ctx, &l, &o, &start));
      o.config.beam = klein ? 0 : 7;
      o.config.klein = klein ? 5 : 0;
      ql_qmat *q = solve(ctx, &l, &o, &report), *again = solve(ctx, &l, &o, NULL);
      assert_true(report.loss < start.loss && report.walked > 0);
      assert_true(close_to(report.loss, loss_of(&l, q, 0.02), 1e-9) && report.loss_check < 1e-9);
      assert_true(same_matrix(q, again));
      ql_qmat_destroy(again);
      o.config.seed = 1;
      again = solve(ctx, &l, &o, NULL);
      assert_int_equal(same_matrix(q, again), !klein);
      ql_qmat_destroy(again);
      ql_qmat_destroy(q);
    }
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_path),   cmocka_unit_test(test_whole_beam),
      cmocka_unit_test(test_plain_beam), cmocka_unit_test(test_random_rows),
      cmocka_unit_test(test_paths),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
