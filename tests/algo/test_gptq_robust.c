/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* GPTQ on Hessians that cannot serve, weights that cannot be held, and hosts that refuse memory. */
#include "cm.h"
#include "factor.h"
#include "fixture.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static ql_status run(const ql_ctx *ctx, const layer *l, const ql_grid_config *grid,
                     const ql_gptq_config *config, ql_qmat **q, ql_gptq_report *report,
                     ql_error *error)
{
  return ql_gptq_run(ctx, &l->w_tensor, l->stats, grid, config, q, report, error);
}

static void assert_finite(const ql_qmat *q)
{
  const ql_qmat_view v = view_of(q);
  double *values = values_of(q);
  for (size_t i = 0; i < v.rows * v.cols; i++)
    assert_true(fabs(values[i]) <= (double)FLT_MAX);
  free(values);
}

static void assert_rounded(const ql_ctx *ctx, const layer *l, const ql_qmat *q)
{
  const ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_qmat *r = NULL;
  assert_int_equal(ql_rtn_run(ctx, &l->w_tensor, &grid, NULL, &r, NULL), QL_STATUS_OK);
  assert_true(same_matrix(q, r));
  ql_qmat_destroy(r);
}

typedef struct {
  int warnings;
} heard;

static void count_warnings(void *user, ql_log_level level, const char *text)
{
  heard *h = user;
  assert_non_null(text);
  h->warnings += level <= QL_LOG_WARNING;
}

static ql_ctx *listening_ctx(heard *h)
{
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_ctx *ctx = NULL;
  config.log = count_warnings;
  config.log_user = h;
  assert_int_equal(ql_ctx_create(&config, &ctx, NULL), QL_STATUS_OK);
  return ctx;
}

/* Too few tokens, and inputs that were always zero: rounded to nearest, and said so. */
static void test_starved(void **state)
{
  (void)state;
  heard h = {0};
  ql_ctx *ctx = listening_ctx(&h);
  layer l = make_layer(ctx, 6, 40, 10, INPUT_CORRELATED, 1);
  const ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
  for (int zero = 0; zero < 2; zero++) {
    ql_gptq_report report = QL_GPTQ_REPORT_INIT;
    ql_qmat *q = NULL;
    config.min_tokens = zero ? 1 : 11;
    config.fallback = QL_GPTQ_FALLBACK_RTN;
    memset(l.x, 0, zero ? l.tokens * l.cols * sizeof *l.x : 0);
    refresh_stats(ctx, &l);
    h.warnings = 0;
    assert_int_equal(run(ctx, &l, &grid, &config, &q, &report, NULL), QL_STATUS_OK);
    assert_int_equal(report.outcome, QL_GPTQ_STARVED);
    assert_int_equal(report.tokens, 10);
    assert_true(report.sse > 0 && report.sse_ref > report.sse && h.warnings > 0);
    assert_rounded(ctx, &l, q);
    ql_qmat_destroy(q);
    ql_error error = QL_ERROR_INIT;
    q = NULL;
    config.fallback = QL_GPTQ_FALLBACK_ERROR;
    assert_int_equal(run(ctx, &l, &grid, &config, &q, NULL, &error), QL_STATUS_NUMERIC);
    assert_null(q);
    assert_true(strlen(error.text) > 10 && strlen(error.hint) > 10);
  }
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* The same weights with statistics of no token at all. */
static void test_no_tokens(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 6, 40, 0, INPUT_CORRELATED, 2);
  const ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
  config.min_tokens = 0;
  ql_gptq_report report = QL_GPTQ_REPORT_INIT;
  ql_qmat *q = NULL;
  assert_int_equal(run(ctx, &l, &grid, &config, &q, &report, NULL), QL_STATUS_OK);
  assert_int_equal(report.outcome, QL_GPTQ_STARVED);
  assert_rounded(ctx, &l, q);
  ql_qmat_destroy(q);
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

static void symmetric(double *h, size_t n, uint64_t *seed, int rank, double shift)
{
  memset(h, 0, n * n * sizeof *h);
  for (int k = 0; k < rank; k++) {
    double v[96];
    for (size_t i = 0; i < n; i++)
      v[i] = normal(seed);
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++)
        h[i * n + j] += v[i] * v[j];
  }
  for (size_t i = 0; i < n; i++)
    h[i * n + i] = fmax(h[i * n + i] + shift, 0);
}

/* Rank-deficient, indefinite, with any damping: always an outcome, never garbage. */
static void test_hundred_bad_hessians(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 5, 48, 60, INPUT_CORRELATED, 3);
  uint64_t seed = 99;
  double h[48 * 48];
  int seen[4] = {0};
  static const double damps[] = {0, 1e-12, 0.01};
  for (int i = 0; i < 100; i++) {
    symmetric(h, l.cols, &seed, 1 + i % 20, i % 3 == 2 ? -0.3 * (i % 7) : 0);
    poke_hessian(&l, h);
    ql_grid_config grid = QL_GRID_CONFIG_INIT;
    ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
    ql_gptq_report report = QL_GPTQ_REPORT_INIT;
    ql_qmat *q = NULL;
    grid.block_cols = 16;
    config.order = i % 4;
    config.damp = damps[i / 4 % 3];
    config.damp_max = i % 5 ? 1 : 0.02;
    config.lapack = i % 2;
    assert_int_equal(run(ctx, &l, &grid, &config, &q, &report, NULL), QL_STATUS_OK);
    assert_true(report.outcome >= 0 && report.outcome < 4 && report.outcome != QL_GPTQ_STARVED);
    assert_int_equal(report.outcome != QL_GPTQ_DONE, report.retries > 0);
    assert_true(report.damp >= config.damp && isfinite(report.loss) && report.loss_check <= 1e-3);
    /* Fewer vectors than columns: without damping a pivot that looks positive is rounding. */
    if (config.damp == 0)
      assert_int_not_equal(report.outcome, QL_GPTQ_DONE);
    seen[report.outcome]++;
    assert_finite(q);
    ql_qmat_destroy(q);
  }
  assert_true(seen[QL_GPTQ_DONE] > 0 && seen[QL_GPTQ_DAMPED] > 0 && seen[QL_GPTQ_NOT_POSITIVE] > 0);
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* Singular by one dimension and not damped: about half of these have a last pivot that is positive,
 * by rounding alone. */
static void test_lost_pivot(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 5, 8, 60, INPUT_CORRELATED, 11);
  uint64_t seed = 5;
  double h[8 * 8];
  for (int i = 0; i < 30; i++) {
    symmetric(h, l.cols, &seed, 7, 0);
    poke_hessian(&l, h);
    const ql_grid_config grid = QL_GRID_CONFIG_INIT;
    ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
    ql_gptq_report report = QL_GPTQ_REPORT_INIT;
    ql_qmat *q = NULL;
    config.damp = 0;
    config.lapack = i % 2;
    assert_int_equal(run(ctx, &l, &grid, &config, &q, &report, NULL), QL_STATUS_OK);
    assert_int_equal(report.outcome, QL_GPTQ_DAMPED);
    ql_qmat_destroy(q);
  }
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* Two columns that always carry the same value, and fewer tokens than columns. */
static void test_singular_inputs(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 30, 150, 20, INPUT_OUTLIERS, 4);
  for (size_t t = 0; t < l.tokens; t++)
    l.x[t * l.cols + 149] = l.x[t * l.cols + 1] = l.x[t * l.cols];
  refresh_stats(ctx, &l);
  for (int order = 0; order < 4; order++) {
    const ql_grid_config grid = QL_GRID_CONFIG_INIT;
    ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
    ql_gptq_report report = QL_GPTQ_REPORT_INIT;
    ql_qmat *q = NULL;
    config.order = order;
    assert_int_equal(run(ctx, &l, &grid, &config, &q, &report, NULL), QL_STATUS_OK);
    assert_int_equal(report.outcome, QL_GPTQ_DONE);
    assert_true(report.proxy < report.proxy_ref * 0.05 && report.loss_check < 1e-8);
    ql_qmat_destroy(q);
  }
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

static void test_damaged_hessian(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 4, 20, 60, INPUT_CORRELATED, 5);
  const double bad[] = {(double)NAN, (double)INFINITY, -1};
  const ql_grid_config grid = QL_GRID_CONFIG_INIT;
  for (int i = 0; i < 3; i++) {
    double h[20 * 20];
    ql_error error = QL_ERROR_INIT;
    ql_qmat *q = NULL;
    memcpy(h, l.h, sizeof h);
    h[7 * 20 + 7] = bad[i];
    poke_hessian(&l, h);
    assert_int_equal(run(ctx, &l, &grid, NULL, &q, NULL, &error), QL_STATUS_NUMERIC);
    assert_null(q);
    assert_int_equal(error.row, 7);
    assert_int_equal(error.col, 7);
    h[7 * 20 + 7] = 1;
    poke_hessian(&l, h);
  }
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* A factor that does not belong to its Hessian is noticed. */
static void test_self_check(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 70, 40, 90, INPUT_CORRELATED, 6);
  const ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_gptq_factor *f = NULL;
  ql_qmat *q = NULL;
  ql_error error = QL_ERROR_INIT;
  assert_int_equal(ql_gptq_factor_create(ctx, l.stats, 0, NULL, &f, NULL), QL_STATUS_OK);
  f->matrix[3 * l.cols + 9] *= 1.5; /* above the diagonal: R */
  f->matrix[3 * l.cols + 9] += 1;
  ql_grid_config whole = grid;
  whole.block_cols = 0;
  assert_int_equal(ql_gptq_run_factored(ctx, &l.w_tensor, f, &whole, NULL, &q, NULL, &error),
                   QL_STATUS_SELF_CHECK);
  assert_null(q);
  assert_true(error.row >= 0 && (size_t)error.row < l.rows);
  ql_gptq_factor_destroy(f);
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

/* --- weights --- */

static void test_bad_weights(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 40, 20, 60, INPUT_CORRELATED, 7);
  ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_error error = QL_ERROR_INIT;
  ql_qmat *q = NULL;
  grid.block_cols = 8;
  l.w[33 * 20 + 17] = NAN;
  assert_int_equal(run(ctx, &l, &grid, NULL, &q, NULL, &error), QL_STATUS_NUMERIC);
  assert_int_equal(error.row, 33);
  assert_int_equal(error.col, 17);
  l.w[33 * 20 + 17] = 1e8f;
  for (int fixed = 0; fixed < 2; fixed++) {
    ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
    config.static_grids = fixed;
    assert_int_equal(run(ctx, &l, &grid, &config, &q, NULL, &error), QL_STATUS_NUMERIC);
    assert_null(q);
    assert_int_equal(error.row, 33);
    assert_int_equal(error.col, 16);
    assert_non_null(strstr(error.hint, "BF16"));
  }
  grid.scale_dtype = QL_DTYPE_BF16;
  l.w[33 * 20 + 17] = 3.3e38f;
  assert_int_equal(run(ctx, &l, &grid, NULL, &q, NULL, &error), QL_STATUS_OK);
  assert_finite(q);
  ql_qmat_destroy(q);
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

static void test_arguments(void **state)
{
  (void)state;
  ql_ctx *ctx = plain_ctx(0, NULL);
  layer l = make_layer(ctx, 4, 20, 60, INPUT_CORRELATED, 8);
  const ql_grid_config good = QL_GRID_CONFIG_INIT;
  const ql_gptq_config fine = QL_GPTQ_CONFIG_INIT;
  ql_qmat *q = NULL;
#define REFUSED(member, value, wanted) \
  do { \
    ql_gptq_config config = fine; \
    config.member = value; \
    assert_int_equal(run(ctx, &l, &good, &config, &q, NULL, NULL), wanted); \
  } while (0)
  REFUSED(order, 4, QL_STATUS_INVALID_ARGUMENT);
  REFUSED(fallback, 2, QL_STATUS_INVALID_ARGUMENT);
  REFUSED(damp, -0.1, QL_STATUS_INVALID_ARGUMENT);
  REFUSED(damp, (double)NAN, QL_STATUS_INVALID_ARGUMENT);
  REFUSED(damp_factor, 1, QL_STATUS_INVALID_ARGUMENT);
  REFUSED(dead_keep, 2, QL_STATUS_INVALID_ARGUMENT);
  REFUSED(struct_size, 8, QL_STATUS_INVALID_ARGUMENT);
#undef REFUSED
  ql_grid_config grid = good;
  grid.block_rows = 2;
  assert_int_equal(run(ctx, &l, &grid, NULL, &q, NULL, NULL), QL_STATUS_INVALID_ARGUMENT);
  l.w_tensor.shape[1] = 19;
  assert_int_equal(run(ctx, &l, &good, NULL, &q, NULL, NULL), QL_STATUS_SHAPE);
  l.w_tensor.shape[1] = 20;
  ql_gptq_factor *f = NULL;
  assert_int_equal(ql_gptq_factor_create(ctx, l.stats, 8, NULL, &f, NULL), QL_STATUS_OK);
  assert_int_equal(ql_gptq_run_factored(ctx, &l.w_tensor, f, &good, NULL, &q, NULL, NULL),
                   QL_STATUS_INVALID_ARGUMENT);
  ql_gptq_config other = fine;
  other.order = QL_GPTQ_ORDER_ACT;
  assert_int_equal(ql_gptq_run_factored(ctx, &l.w_tensor, f, &good, &other, &q, NULL, NULL),
                   QL_STATUS_INVALID_ARGUMENT);
  ql_gptq_factor_destroy(f);
  assert_null(q);
  l.w_tensor.shape[0] = 0;
  assert_int_equal(run(ctx, &l, &good, NULL, &q, NULL, NULL), QL_STATUS_OK);
  assert_int_equal(view_of(q).rows, 0);
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
  for (int kind = 0; kind < 4; kind++) {
    miser m = {-1, 0};
    ql_ctx_config ctx_config = QL_CTX_CONFIG_INIT;
    ql_ctx *ctx = NULL;
    ctx_config.allocator = (ql_allocator){&m, miserly_alloc, miserly_free};
    assert_int_equal(ql_ctx_create(&ctx_config, &ctx, NULL), QL_STATUS_OK);
    layer l = make_layer(ctx, 40, 150, 60, INPUT_CORRELATED, 9);
    ql_grid_config grid = QL_GRID_CONFIG_INIT;
    ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
    grid.block_cols = 64;
    grid.mse_norm = kind == 1 ? 2 : 0;
    grid.mse_steps = 4;
    config.order = kind;
    config.min_tokens = kind == 3 ? 1000 : 1;
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
    assert_true(n > 5);
    m.countdown = -1;
    free_layer(&l);
    ql_ctx_destroy(ctx);
    assert_int_equal(m.live, 0);
  }
}

typedef struct {
  int calls, stop_at;
  uint64_t done;
} listener;

static int32_t hear(void *user, const char *phase, uint64_t done, uint64_t total)
{
  listener *h = user;
  assert_non_null(phase);
  assert_true(done <= total);
  if (strcmp(phase, "gptq") == 0) {
    assert_true(done >= h->done);
    h->done = done;
  }
  return h->calls++ == h->stop_at;
}

static void test_progress(void **state)
{
  (void)state;
  listener h = {0, -1, 0};
  ql_ctx_config ctx_config = QL_CTX_CONFIG_INIT;
  ql_ctx *ctx = NULL;
  ctx_config.progress = hear;
  ctx_config.progress_user = &h;
  assert_int_equal(ql_ctx_create(&ctx_config, &ctx, NULL), QL_STATUS_OK);
  layer l = make_layer(ctx, 20, 300, 60, INPUT_CORRELATED, 10);
  ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_qmat *q = NULL;
  grid.mse_norm = 2;
  grid.mse_steps = 5;
  h = (listener){0, -1, 0};
  assert_int_equal(run(ctx, &l, &grid, NULL, &q, NULL, NULL), QL_STATUS_OK);
  assert_int_equal(h.done, 2 * 20 * 300);
  ql_qmat_destroy(q);
  const int calls = h.calls;
  assert_true(calls > 2);
  for (int i = 0; i < calls; i++) {
    q = NULL;
    h = (listener){0, i, 0};
    assert_int_equal(run(ctx, &l, &grid, NULL, &q, NULL, NULL), QL_STATUS_CANCELLED);
    assert_null(q);
  }
  free_layer(&l);
  ql_ctx_destroy(ctx);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_starved),
      cmocka_unit_test(test_no_tokens),
      cmocka_unit_test(test_hundred_bad_hessians),
      cmocka_unit_test(test_singular_inputs),
      cmocka_unit_test(test_lost_pivot),
      cmocka_unit_test(test_damaged_hessian),
      cmocka_unit_test(test_self_check),
      cmocka_unit_test(test_bad_weights),
      cmocka_unit_test(test_arguments),
      cmocka_unit_test(test_no_memory),
      cmocka_unit_test(test_progress),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
