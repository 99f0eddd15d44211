/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* The solver on layers that are out of the ordinary, arguments that cannot be served, and hosts
 * that refuse memory or cancel. */
#include "cm.h"
#include "fixture.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static ql_status run(const ql_ctx *ctx, const layer *l, const ql_grid_config *grid,
                     const ql_solve_config *config, ql_qmat **q, ql_solve_report *report,
                     ql_error *error)
{
  return ql_solve_run(ctx, &l->w_tensor, NULL, l->stats, grid, config, q, report, error);
}

enum {
  DEAD = 1,      /* columns without input */
  CONSTANT = 2,  /* groups of equal weights, rows of zeros */
  HUGE_ONE = 4,  /* one enormous weight */
  ONE_TOKEN = 8, /* rank 1 */
  LOUD = 16      /* one enormous input */
};

static layer odd_layer(const ql_ctx *ctx, int what, uint64_t seed)
{
  layer l = make_layer(ctx, 18, 72, what & ONE_TOKEN ? 1 : 40, INPUT_CORRELATED, seed);
  for (size_t r = 0; r < l.rows && (what & CONSTANT) != 0; r++)
    for (size_t c = 0; c < l.cols; c++)
      if (r % 3 == 0 || c / 24 == r % 3)
        l.w[r * l.cols + c] = r % 3 == 0 ? 0.0f : 0.25f;
  if (what & HUGE_ONE)
    l.w[5 * l.cols + 30] = 3e4f;
  for (size_t t = 0; t < l.tokens; t++)
    for (size_t c = 0; c < l.cols; c++) {
      if ((what & DEAD) != 0 && c % 7 == 2)
        l.x[t * l.cols + c] = 0;
      if ((what & LOUD) != 0 && c == 11)
        l.x[t * l.cols + c] *= 1e4f;
    }
  refresh_stats(ctx, &l);
  return l;
}

static void assert_sound(const layer *l, const ql_qmat *q, const ql_solve_report *report)
{
  const ql_qmat_view v = view_of(q);
  double *values = values_of(q);
  for (size_t i = 0; i < v.rows * v.cols; i++)
    assert_true(fabs(values[i]) <= (double)FLT_MAX);
  for (size_t i = 0; i < v.rows * v.groups; i++)
    assert_true(v.scales[i] >= 0x1p-14f);
  for (size_t c = 0; c < l->cols; c++)
    for (size_t r = 0; l->h[c * l->cols + c] == 0 && r < l->rows; r++)
      assert_true(values[r * l->cols + c] == 0);
  assert_true(report->loss <= report->loss_start * (1 + 1e-12));
  assert_true(report->proxy >= 0 && report->loss_check < 1e-6);
  free(values);
}

/* Whatever the layer: sound values, zero where nothing was ever seen, no loss beyond GPTQ's. */
static void test_odd_layers(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  for (int what = 0; what < 32; what++) {
    layer l = odd_layer(ctx, what, (uint64_t)what);
    ql_grid_config grid = QL_GRID_CONFIG_INIT;
    ql_solve_config config = QL_SOLVE_CONFIG_INIT;
    ql_solve_report report = QL_SOLVE_REPORT_INIT;
    ql_qmat *q = NULL;
    ql_error error = QL_ERROR_INIT;
    grid.kind = what % 3 == 0 ? QL_GRID_SYM_CENTRED : QL_GRID_ASYM;
    grid.block_cols = what % 5 == 0 ? 0 : 24;
    grid.bits = 2 + what % 4;
    grid.zero_min = what % 2;
    config.order = what % 4;
    config.beam = what % 3 == 1 ? 3 : 0;
    config.klein = what % 3 == 2 ? 3 : 0;
    if (run(ctx, &l, &grid, &config, &q, &report, &error) != QL_STATUS_OK)
      fail_msg("layer %d: %s", what, error.text);
    assert_int_equal(report.outcome, QL_GPTQ_DONE);
    assert_sound(&l, q, &report);
    const ql_qmat_view v = view_of(q);
    for (size_t i = 0; i < v.rows * v.groups; i++)
      assert_true(v.zeros[i] >= grid.zero_min && v.zeros[i] < 1 << grid.bits);
    ql_qmat_destroy(q);
    free_layer(&l);
  }
  ql_ctx_destroy(ctx);
}

/* Dead columns that are kept are nearest to their weights on the grid as it is at the end. */
static void test_dead_kept(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = odd_layer(ctx, DEAD, 3);
  ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_solve_config config = QL_SOLVE_CONFIG_INIT;
  grid.kind = QL_GRID_ASYM;
  grid.block_cols = 24;
  grid.bits = 3;
  config.dead_keep = 1;
  for (int descent = 0; descent < 2; descent++) {
    ql_qmat *q = NULL;
    config.descent = descent;
    assert_int_equal(run(ctx, &l, &grid, &config, &q, NULL, NULL), QL_STATUS_OK);
    const ql_qmat_view v = view_of(q);
    for (size_t i = 0; i < l.rows * l.cols; i++) {
      const size_t r = i / l.cols, c = i % l.cols, block = r * v.groups + c / 24;
      if (l.h[c * l.cols + c] != 0)
        continue;
      const double exact = (double)l.w[i] / (double)v.scales[block] + v.zeros[block];
      assert_true(fabs(v.codes[i] - fmin(fmax(exact, 0), 7)) <= 0.5 + 1e-9);
    }
    ql_qmat_destroy(q);
  }
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* Too few tokens: rounded to nearest, target and all, and said so. */
static void test_starved(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = odd_layer(ctx, 0, 4), other = odd_layer(ctx, 0, 5);
  const ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_solve_config config = QL_SOLVE_CONFIG_INIT;
  ql_solve_report report = QL_SOLVE_REPORT_INIT;
  ql_qmat *q = NULL, *r = NULL;
  config.min_tokens = 1000;
  assert_int_equal(
      ql_solve_run(ctx, &l.w_tensor, &other.w_tensor, l.stats, &grid, &config, &q, &report, NULL),
      QL_STATUS_OK);
  assert_int_equal(ql_rtn_run(ctx, &other.w_tensor, &grid, NULL, &r, NULL), QL_STATUS_OK);
  assert_int_equal(report.outcome, QL_GPTQ_STARVED);
  assert_true(same_matrix(q, r) && report.sse_ref > 0 && report.loss == 0);
  ql_qmat_destroy(r);
  ql_qmat_destroy(q);
  q = NULL;
  config.fallback = QL_GPTQ_FALLBACK_ERROR;
  assert_int_equal(run(ctx, &l, &grid, &config, &q, NULL, NULL), QL_STATUS_NUMERIC);
  assert_null(q);
  free_layer(&other);
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

static void assert_refused(const ql_ctx *ctx, const layer *l, const ql_grid_config *grid,
                           const ql_solve_config *config, ql_status expected)
{
  ql_error error = QL_ERROR_INIT;
  ql_qmat *q = NULL;
  assert_int_equal(run(ctx, l, grid, config, &q, NULL, &error), expected);
  assert_null(q);
  assert_true(strlen(error.text) > 10);
}

static void test_refusals(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = odd_layer(ctx, 0, 6), other = make_layer(ctx, 18, 71, 10, INPUT_CORRELATED, 7);
  const ql_grid_config good_grid = QL_GRID_CONFIG_INIT;
  const ql_solve_config good = QL_SOLVE_CONFIG_INIT;
  ql_grid_config grid = good_grid;
  ql_solve_config c = good;
  ql_solve_report report = QL_SOLVE_REPORT_INIT;
  ql_qmat *q = NULL;
  grid.flags = QL_GRID_CLASSICAL;
  assert_refused(ctx, &l, &grid, &c, QL_STATUS_UNSUPPORTED);
  grid = good_grid;
  grid.block_rows = 2;
  assert_refused(ctx, &l, &grid, &c, QL_STATUS_INVALID_ARGUMENT);
  c.rounds = 101;
  assert_refused(ctx, &l, &good_grid, &c, QL_STATUS_INVALID_ARGUMENT);
  c = good;
  c.descent = 2;
  assert_refused(ctx, &l, &good_grid, &c, QL_STATUS_INVALID_ARGUMENT);
  c = good;
  c.shuffle = -1;
  assert_refused(ctx, &l, &good_grid, &c, QL_STATUS_INVALID_ARGUMENT);
  c = good;
  c.beam = 49;
  assert_refused(ctx, &l, &good_grid, &c, QL_STATUS_INVALID_ARGUMENT);
  c.beam = c.klein = 4;
  assert_refused(ctx, &l, &good_grid, &c, QL_STATUS_INVALID_ARGUMENT);
  c = good;
  c.temperature = 0;
  assert_refused(ctx, &l, &good_grid, &c, QL_STATUS_INVALID_ARGUMENT);
  c = good;
  c.reserved = 1;
  assert_refused(ctx, &l, &good_grid, &c, QL_STATUS_INVALID_ARGUMENT);
  c = good;
  c.search = 7;
  assert_refused(ctx, &l, &good_grid, &c, QL_STATUS_INVALID_ARGUMENT);
  c = good;
  c.descent_damp = -1;
  assert_refused(ctx, &l, &good_grid, &c, QL_STATUS_INVALID_ARGUMENT);
  c = good;
  c.order = 9;
  assert_refused(ctx, &l, &good_grid, &c, QL_STATUS_INVALID_ARGUMENT);
  c = good;
  c.struct_size = 8;
  assert_refused(ctx, &l, &good_grid, &c, QL_STATUS_INVALID_ARGUMENT);
  report.struct_size = 8;
  assert_int_equal(run(ctx, &l, &good_grid, &good, &q, &report, NULL), QL_STATUS_INVALID_ARGUMENT);
  assert_int_equal(
      ql_solve_run(ctx, &l.w_tensor, &other.w_tensor, l.stats, &good_grid, &good, &q, NULL, NULL),
      QL_STATUS_SHAPE);
  other.w[3] = NAN;
  assert_int_equal(
      ql_solve_run(ctx, &other.w_tensor, NULL, other.stats, &good_grid, &good, &q, NULL, NULL),
      QL_STATUS_NUMERIC);
  assert_null(q);
  free_layer(&other);
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* A singular Hessian without any damping has no root to search a grid with: said, not guessed. */
static void test_singular(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = odd_layer(ctx, ONE_TOKEN, 8);
  ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_solve_config c = QL_SOLVE_CONFIG_INIT;
  grid.block_cols = 24;
  c.descent_damp = 0;
  assert_refused(ctx, &l, &grid, &c, QL_STATUS_NUMERIC);
  ql_solve_report report = QL_SOLVE_REPORT_INIT;
  ql_qmat *q = NULL;
  c.regrid = 0;
  assert_refused(ctx, &l, &grid, &c, QL_STATUS_NUMERIC);
  c.shuffle = 0;
  assert_int_equal(run(ctx, &l, &grid, &c, &q, &report, NULL), QL_STATUS_OK);
  assert_true(report.loss <= report.loss_start);
  ql_qmat_destroy(q);
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* --- hosts --- */

typedef struct {
  long countdown; /* allocations until one fails */
  long live;
} miser;

static void *miserly_alloc(void *user, size_t size, size_t align)
{
  miser *m = user;
  void *block = NULL;
  if (m->countdown-- == 0 || posix_memalign(&block, align, size) != 0)
    return NULL;
  m->live++;
  return block;
}

static void miserly_free(void *user, void *block)
{
  miser *m = user;
  m->live--;
  free(block);
}

/* Every allocation fails once: no leak, no output, and then success. */
static void test_no_memory(void **state)
{
  (void)state;
  for (int wide = 0; wide < 2; wide++) {
    miser m = {-1, 0};
    ql_ctx_config ctx_config = QL_CTX_CONFIG_INIT;
    ql_ctx *ctx = NULL;
    ctx_config.allocator = (ql_allocator){&m, miserly_alloc, miserly_free};
    assert_int_equal(ql_ctx_create(&ctx_config, &ctx, NULL), QL_STATUS_OK);
    layer l = make_layer(ctx, 10, wide ? 270 : 60, 60, INPUT_CORRELATED, 9);
    ql_grid_config grid = QL_GRID_CONFIG_INIT;
    ql_solve_config config = QL_SOLVE_CONFIG_INIT;
    grid.block_cols = wide ? 0 : 30;
    grid.mse_steps = 4;
    config.rounds = 1;
    config.beam = 4;
    const long before = m.live;
    ql_status status = QL_STATUS_NO_MEMORY;
    long n = 0;
    for (; status == QL_STATUS_NO_MEMORY && n < 10000; n++) {
      ql_qmat *q = NULL;
      ql_error error = QL_ERROR_INIT;
      m.countdown = n;
      status = run(ctx, &l, &grid, &config, &q, NULL, &error);
      assert_int_equal(q != NULL, status == QL_STATUS_OK);
      assert_int_equal(error.status, status);
      ql_qmat_destroy(q);
      assert_int_equal(m.live, before);
    }
    assert_int_equal(status, QL_STATUS_OK);
    assert_true(n > 20);
    m.countdown = -1;
    free_layer(&l);
    ql_ctx_destroy(ctx);
    assert_int_equal(m.live, 0);
  }
}

typedef struct {
  int calls, stop_at;
} listener;

static int32_t hear(void *user, const char *phase, uint64_t done, uint64_t total)
{
  listener *h = user;
  assert_non_null(phase);
  assert_true(done <= total);
  return h->calls++ == h->stop_at;
}

static void test_cancel(void **state)
{
  (void)state;
  listener h = {0, -1};
  ql_ctx_config ctx_config = QL_CTX_CONFIG_INIT;
  ql_ctx *ctx = NULL;
  ctx_config.progress = hear;
  ctx_config.progress_user = &h;
  assert_int_equal(ql_ctx_create(&ctx_config, &ctx, NULL), QL_STATUS_OK);
  layer l = make_layer(ctx, 20, 300, 60, INPUT_CORRELATED, 10);
  const ql_grid_config grid = QL_GRID_CONFIG_INIT;
  const ql_solve_config config = QL_SOLVE_CONFIG_INIT;
  ql_qmat *q = NULL;
  h = (listener){0, -1};
  assert_int_equal(run(ctx, &l, &grid, &config, &q, NULL, NULL), QL_STATUS_OK);
  ql_qmat_destroy(q);
  const int calls = h.calls;
  assert_true(calls > 4);
  for (int i = 0; i < calls; i++) {
    q = NULL;
    h = (listener){0, i};
    assert_int_equal(run(ctx, &l, &grid, &config, &q, NULL, NULL), QL_STATUS_CANCELLED);
    assert_null(q);
  }
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_odd_layers), cmocka_unit_test(test_dead_kept),
      cmocka_unit_test(test_starved),    cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_singular),   cmocka_unit_test(test_no_memory),
      cmocka_unit_test(test_cancel),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
