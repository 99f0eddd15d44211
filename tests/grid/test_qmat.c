/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* The quantized matrix: what is refused, what is copied, and dequantization against the formula in
 * double precision rounded by search over all values of the type. */
#include "quantlib/quantize.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 5, COLS = 7, GROUP = 3, GROUPS = 3 };

typedef struct {
  uint8_t codes[ROWS * COLS];
  float scales[ROWS * GROUPS];
  int16_t zeros[ROWS * GROUPS];
  int32_t g_idx[COLS];
  int32_t perm[COLS];
  ql_qmat_view view;
} sample;

static ql_ctx *make_ctx(void)
{
  ql_ctx *ctx = NULL;
  assert_int_equal(ql_ctx_create(NULL, &ctx, NULL), QL_STATUS_OK);
  return ctx;
}

static void make_sample(sample *s)
{
  memset(s, 0, sizeof *s);
  for (int i = 0; i < ROWS * COLS; i++)
    s->codes[i] = (uint8_t)(i * 7 % 16);
  for (int i = 0; i < ROWS * GROUPS; i++) {
    s->scales[i] = 0.25f * (float)(i + 1);
    s->zeros[i] = (int16_t)(i % 17);
  }
  for (int i = 0; i < COLS; i++) {
    s->g_idx[i] = (COLS - 1 - i) / GROUP;
    s->perm[i] = COLS - 1 - i;
  }
  s->view = (ql_qmat_view){.struct_size = sizeof s->view,
                           .rows = ROWS,
                           .cols = COLS,
                           .bits = 4,
                           .kind = QL_GRID_ASYM,
                           .block_rows = 1,
                           .block_cols = GROUP,
                           .groups = GROUPS,
                           .scale_dtype = QL_DTYPE_F16,
                           .codes = s->codes,
                           .scales = s->scales,
                           .zeros = s->zeros};
}

static void test_round_trip(void **state)
{
  (void)state;
  ql_ctx *ctx = make_ctx();
  sample s;
  ql_qmat *q = NULL;
  make_sample(&s);
  s.view.g_idx = s.g_idx;
  s.view.perm = s.perm;
  assert_int_equal(ql_qmat_create(ctx, &s.view, &q, NULL), QL_STATUS_OK);
  ql_qmat_view v = {.struct_size = sizeof v};
  assert_int_equal(ql_qmat_get(q, &v), QL_STATUS_OK);
  assert_ptr_not_equal(v.codes, s.codes);
  assert_memory_equal(v.codes, s.codes, sizeof s.codes);
  assert_memory_equal(v.scales, s.scales, sizeof s.scales);
  assert_memory_equal(v.zeros, s.zeros, sizeof s.zeros);
  assert_memory_equal(v.g_idx, s.g_idx, sizeof s.g_idx);
  assert_memory_equal(v.perm, s.perm, sizeof s.perm);
  assert_int_equal(ql_qmat_bits(q), ROWS * COLS * 4 + ROWS * GROUPS * (16 + 4));
  float w[ROWS * COLS];
  ql_tensor t;
  assert_int_equal(ql_tensor_init_2d(&t, w, QL_DTYPE_F32, ROWS, COLS), QL_STATUS_OK);
  assert_int_equal(ql_dequantize(ctx, q, &t, NULL), QL_STATUS_OK);
  for (int r = 0; r < ROWS; r++)
    for (int c = 0; c < COLS; c++) {
      const int b = r * GROUPS + s.g_idx[c];
      assert_true(w[r * COLS + c] == s.scales[b] * (float)(s.codes[r * COLS + c] - s.zeros[b]));
    }
  ql_qmat_destroy(q);
  ql_qmat_destroy(NULL);
  ql_ctx_destroy(ctx);
}

static void refuse(const sample *s, ql_status wanted, int64_t row, int64_t col)
{
  ql_ctx *ctx = make_ctx();
  ql_qmat *q = NULL;
  ql_error error = QL_ERROR_INIT;
  assert_int_equal(ql_qmat_create(ctx, &s->view, &q, &error), wanted);
  assert_null(q);
  assert_int_equal(error.status, wanted);
  assert_int_equal(error.row, row);
  assert_int_equal(error.col, col);
  ql_ctx_destroy(ctx);
}

static void test_refused(void **state)
{
  (void)state;
  sample s;
#define WITH(change, status, row, col) \
  do { \
    make_sample(&s); \
    change; \
    refuse(&s, status, row, col); \
  } while (0)
  WITH(s.codes[2 * COLS + 3] = 16, QL_STATUS_INVALID_ARGUMENT, 2, 3);
  WITH(s.scales[GROUPS + 2] = NAN, QL_STATUS_NUMERIC, 1, 2);
  WITH(s.scales[0] = INFINITY, QL_STATUS_NUMERIC, 0, 0);
  WITH(s.scales[4] = 0.1f, QL_STATUS_INVALID_ARGUMENT, 1, 1);
  WITH(s.zeros[5] = 17, QL_STATUS_INVALID_ARGUMENT, 1, 2);
  WITH(s.zeros[5] = -1, QL_STATUS_INVALID_ARGUMENT, 1, 2);
  WITH(s.view.kind = QL_GRID_SYM_CENTRED, QL_STATUS_INVALID_ARGUMENT, 0, 0);
  WITH((s.view.g_idx = s.g_idx, s.g_idx[4] = 3), QL_STATUS_INVALID_ARGUMENT, -1, 4);
  WITH((s.view.g_idx = s.g_idx, s.g_idx[4] = -1), QL_STATUS_INVALID_ARGUMENT, -1, 4);
  WITH((s.view.perm = s.perm, s.perm[1] = s.perm[0]), QL_STATUS_INVALID_ARGUMENT, -1, 1);
  WITH((s.view.perm = s.perm, s.perm[1] = COLS), QL_STATUS_INVALID_ARGUMENT, -1, 1);
  WITH(s.view.bits = 0, QL_STATUS_INVALID_ARGUMENT, -1, -1);
  WITH(s.view.bits = 9, QL_STATUS_INVALID_ARGUMENT, -1, -1);
  WITH(s.view.kind = 9, QL_STATUS_INVALID_ARGUMENT, -1, -1);
  WITH(s.view.scale_dtype = QL_DTYPE_I8, QL_STATUS_DTYPE, -1, -1);
  WITH(s.view.groups = 2, QL_STATUS_SHAPE, -1, -1);
  WITH(s.view.block_cols = 0, QL_STATUS_INVALID_ARGUMENT, -1, -1);
  WITH(s.view.block_rows = 0, QL_STATUS_INVALID_ARGUMENT, -1, -1);
  WITH(s.view.reserved = 1, QL_STATUS_INVALID_ARGUMENT, -1, -1);
  WITH(s.view.struct_size = offsetof(ql_qmat_view, perm), QL_STATUS_INVALID_ARGUMENT, -1, -1);
  WITH(s.view.codes = NULL, QL_STATUS_INVALID_ARGUMENT, -1, -1);
  WITH(s.view.scales = NULL, QL_STATUS_INVALID_ARGUMENT, -1, -1);
  WITH(s.view.zeros = NULL, QL_STATUS_INVALID_ARGUMENT, -1, -1);
  WITH(s.view.rows = SIZE_MAX / 2, QL_STATUS_OVERFLOW, -1, -1);
#undef WITH
}

static void test_empty(void **state)
{
  (void)state;
  ql_ctx *ctx = make_ctx();
  for (int i = 0; i < 3; i++) {
    const size_t rows = i == 0 ? 0 : 3, cols = i == 1 ? 0 : 4;
    if (rows * cols != 0)
      continue;
    ql_qmat *q = NULL;
    ql_tensor t;
    const ql_qmat_view v = {.struct_size = sizeof v,
                            .rows = rows,
                            .cols = cols,
                            .bits = 4,
                            .kind = QL_GRID_SYM_FULL,
                            .block_rows = 1,
                            .block_cols = 4,
                            .groups = cols != 0,
                            .scale_dtype = QL_DTYPE_F32};
    assert_int_equal(ql_qmat_create(ctx, &v, &q, NULL), QL_STATUS_OK);
    assert_int_equal(ql_tensor_init_2d(&t, NULL, QL_DTYPE_F32, rows, cols), QL_STATUS_OK);
    assert_int_equal(ql_dequantize(ctx, q, &t, NULL), QL_STATUS_OK);
    ql_qmat_destroy(q);
  }
  ql_ctx_destroy(ctx);
}

static double f16_value(unsigned h)
{
  const int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
  const double a = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
  return h & 0x8000u ? -a : a;
}

static double bf16_value(unsigned h)
{
  const int e = (int)(h >> 7 & 255), m = (int)(h & 127);
  const double a = e ? ldexp(128 + m, e - 134) : ldexp(m, -133);
  return h & 0x8000u ? -a : a;
}

/* Nearest 16-bit value by bisection over the non-negative codes, ties to the even code. */
static unsigned nearest(double x, unsigned infinity_code, double (*value)(unsigned))
{
  const double a = fabs(x);
  unsigned lo = 0, hi = infinity_code - 1;
  while (lo < hi) {
    const unsigned mid = (lo + hi + 1) / 2;
    if (value(mid) <= a)
      lo = mid;
    else
      hi = mid - 1;
  }
  /* The value after the largest finite one is where infinity begins to count from. */
  const double step =
      lo + 1 < infinity_code ? value(lo + 1) - value(lo) : value(lo) - value(lo - 1);
  const double up = value(lo) + step - a, down = a - value(lo);
  const unsigned code = down < up || (down == up && lo % 2 == 0) ? lo : lo + 1;
  return code | (signbit(x) ? 0x8000u : 0u);
}

/* One rounding from s * (c - z), for every scale type and destination, strided. */
static void test_one_rounding(void **state)
{
  (void)state;
  enum { N = 512, STEP = 3 };
  static uint8_t codes[N];
  static uint16_t out[N * STEP];
  ql_ctx *ctx = make_ctx();
  uint64_t random = 88172645463325252u;
  for (int round = 0; round < 400; round++) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    const int zero = (int)(random >> 20 & 255);
    /* A scale whose product with some small integer lies just beside a tie of the 16-bit type. */
    const float s = (1.0f + (float)(random >> 40) * 0x1p-24f) * exp2f((float)(round % 41 - 24));
    const float scales[1] = {s};
    const int16_t zeros[1] = {(int16_t)zero};
    for (int i = 0; i < N; i++)
      codes[i] = (uint8_t)(i & 255);
    const ql_qmat_view v = {.struct_size = sizeof v,
                            .rows = 1,
                            .cols = N,
                            .bits = 8,
                            .kind = QL_GRID_ASYM,
                            .block_rows = 1,
                            .block_cols = N,
                            .groups = 1,
                            .scale_dtype = QL_DTYPE_F32,
                            .codes = codes,
                            .scales = scales,
                            .zeros = zeros};
    ql_qmat *q = NULL;
    assert_int_equal(ql_qmat_create(ctx, &v, &q, NULL), QL_STATUS_OK);
    for (int b = 0; b < 2; b++) {
      ql_tensor t;
      assert_int_equal(ql_tensor_init_2d(&t, out, b ? QL_DTYPE_BF16 : QL_DTYPE_F16, 1, N),
                       QL_STATUS_OK);
      t.stride[1] = STEP * sizeof out[0];
      assert_int_equal(ql_dequantize(ctx, q, &t, NULL), QL_STATUS_OK);
      for (int i = 0; i < N; i++) {
        const double x = (double)s * ((i & 255) - zero);
        assert_int_equal(out[i * STEP],
                         nearest(x, b ? 0x7f80 : 0x7c00, b ? bf16_value : f16_value));
      }
    }
    ql_qmat_destroy(q);
  }
  ql_ctx_destroy(ctx);
}

static void test_grid_check(void **state)
{
  (void)state;
  const ql_grid_config good = QL_GRID_CONFIG_INIT;
  assert_int_equal(ql_grid_check(&good, 10, 300, NULL), QL_STATUS_OK);
  assert_int_equal(ql_grid_check(&good, 0, 0, NULL), QL_STATUS_OK);
  assert_int_equal(ql_grid_check(&good, SIZE_MAX, SIZE_MAX, NULL), QL_STATUS_OVERFLOW);
  assert_int_equal(ql_grid_check(NULL, 1, 1, NULL), QL_STATUS_INVALID_ARGUMENT);
#define BAD(member, value) \
  do { \
    ql_grid_config g = good; \
    g.member = value; \
    assert_int_not_equal(ql_grid_check(&g, 4, 4, NULL), QL_STATUS_OK); \
  } while (0)
  BAD(bits, 0);
  BAD(bits, 9);
  BAD(kind, 0);
  BAD(kind, 8);
  BAD(kind, QL_GRID_TERNARY); /* not of 4 bits */
  BAD(scale_dtype, QL_DTYPE_F64);
  BAD(zero_min, -1);
  BAD(zero_min, 9);
  BAD(flags, 4);
  BAD(flags, QL_GRID_RAW_RANGE);
  BAD(mse_norm, -1);
  BAD(mse_norm, (double)NAN);
  BAD(struct_size, 8);
  ql_grid_config g = good;
  g.mse_norm = 2;
  g.mse_steps = 0;
  assert_int_not_equal(ql_grid_check(&g, 4, 4, NULL), QL_STATUS_OK);
  g.mse_steps = 10;
  g.mse_shrink = 1.5;
  assert_int_not_equal(ql_grid_check(&g, 4, 4, NULL), QL_STATUS_OK);
  g = good;
  g.flags = QL_GRID_CLASSICAL;
  assert_int_equal(ql_grid_check(&g, 4, 4, NULL), QL_STATUS_OK);
  g.kind = QL_GRID_SYM_FULL;
  assert_int_not_equal(ql_grid_check(&g, 4, 4, NULL), QL_STATUS_OK);
#undef BAD
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused),
      cmocka_unit_test(test_empty),      cmocka_unit_test(test_one_rounding),
      cmocka_unit_test(test_grid_check),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
