/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* Grids of levels: the named tables are the published ones, rounding finds the nearest level by the
 * tie rule of each source, matrices with tables are kept, counted, dequantized and refused. */
#include "quantlib/algo.h"
#include "quantlib/format.h"
#include "quantlib/quantize.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static ql_ctx *ctx;

static int setup(void **state)
{
  (void)state;
  return ql_ctx_create(NULL, &ctx, NULL);
}

static int teardown(void **state)
{
  (void)state;
  ql_ctx_destroy(ctx);
  return 0;
}

static uint64_t state64 = 88172645463325252u;

static double uniform(void)
{
  state64 ^= state64 << 13, state64 ^= state64 >> 7, state64 ^= state64 << 17;
  return (double)(state64 >> 11) * 0x1p-53;
}

static const float *levels_of(ql_table id)
{
  ql_table_info info = {.struct_size = sizeof info};
  assert_int_equal(ql_table_get(id, &info), QL_STATUS_OK);
  assert_int_equal(info.id, id);
  assert_int_equal(info.bits, 4);
  return info.levels;
}

/* The bit patterns of the constants that bitsandbytes publishes. */
static const uint32_t nf4_bits[16] = {
    0xBF800000, 0xBF3239B1, 0xBF066B30, 0xBECA32A0, 0xBE91A24D, 0xBE3D353F, 0xBDBA7871, 0x00000000,
    0x3DA2FAFF, 0x3E24CAE3, 0x3E7C04DD, 0x3EAD033A, 0x3EE1A4B8, 0x3F1007AB, 0x3F3913B3, 0x3F800000};

static void test_published_levels(void **state)
{
  static const double twelfths[8] = {0, 0.0625, 8, 12, 4, 6, 2, 3};
  static const double halves[8] = {0, 1, 2, 3, 4, 6, 8, 12};
  static const int iq4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                              1,    13,   25,  38,  53,  69,  89,  113};
  (void)state;
  assert_memory_equal(levels_of(QL_TABLE_NF4), nf4_bits, sizeof nf4_bits);
  const float *fp4 = levels_of(QL_TABLE_FP4), *e2m1 = levels_of(QL_TABLE_E2M1);
  for (int i = 0; i < 16; i++) {
    const double sign = i < 8 ? 1 : -1;
    assert_true(fp4[i] == (float)(sign * twelfths[i % 8] / 12));
    assert_true((double)e2m1[i] == sign * halves[i % 8] / 2);
    assert_true(levels_of(QL_TABLE_IQ4_NL)[i] == (float)iq4[i]);
    assert_int_equal(signbit(fp4[i]) != 0, i >= 8);
    assert_int_equal(signbit(e2m1[i]) != 0, i >= 8);
  }
}

static void test_names(void **state)
{
  static const char *const names[] = {"nf4", "fp4", "e2m1", "iq4_nl"};
  ql_error error = QL_ERROR_INIT;
  ql_table id;
  ql_table_info info = {.struct_size = sizeof info};
  (void)state;
  for (ql_table i = 1; i <= 4; i++) {
    assert_int_equal(ql_table_find(names[i - 1], &id, NULL), QL_STATUS_OK);
    assert_int_equal(id, i);
    assert_int_equal(ql_table_get(id, &info), QL_STATUS_OK);
    assert_string_equal(info.name, names[i - 1]);
    assert_non_null(info.source);
  }
  assert_int_equal(ql_table_find("nf5", &id, &error), QL_STATUS_NOT_FOUND);
  assert_non_null(strstr(error.text, "iq4_nl"));
  assert_int_equal(ql_table_get(QL_TABLE_NONE, &info), QL_STATUS_NOT_FOUND);
  assert_int_equal(ql_table_get(99, &info), QL_STATUS_NOT_FOUND);
}

static ql_grid_config table_grid(ql_table table, size_t group)
{
  ql_grid_config g = QL_GRID_CONFIG_INIT;
  g.kind = QL_GRID_TABLE;
  g.table = table;
  g.block_cols = group;
  g.scale_dtype = QL_DTYPE_F32;
  return g;
}

static ql_qmat *round_to(const float *w, size_t rows, size_t cols, const ql_grid_config *grid)
{
  ql_tensor t;
  ql_qmat *q = NULL;
  ql_error error = QL_ERROR_INIT;
  assert_int_equal(ql_tensor_init_2d(&t, (void *)(uintptr_t)w, QL_DTYPE_F32, rows, cols), 0);
  if (ql_rtn_run(ctx, &t, grid, NULL, &q, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  return q;
}

static ql_qmat_view view_of(const ql_qmat *q)
{
  ql_qmat_view v = {.struct_size = sizeof v};
  assert_int_equal(ql_qmat_get(q, &v), QL_STATUS_OK);
  return v;
}

/* bitsandbytes' own example of a block, and each table at its levels and between them. */
static void test_golden_nf4(void **state)
{
  static const float w[8] = {0.5f, -1.0f, 0.25f, 2.0f, -2.0f, 0.0f, 1.0f, -0.1f};
  static const uint8_t codes[8] = {10, 2, 9, 15, 0, 7, 12, 6};
  const ql_grid_config grid = table_grid(QL_TABLE_NF4, 64);
  (void)state;
  ql_qmat *q = round_to(w, 1, 8, &grid);
  const ql_qmat_view v = view_of(q);
  assert_memory_equal(v.codes, codes, sizeof codes);
  assert_true(v.scales[0] == 2.0f);
  assert_null(v.zeros);
  assert_int_equal(v.level_sets, 1);
  assert_memory_equal(v.levels, nf4_bits, sizeof nf4_bits);
  ql_qmat_destroy(q);
}

/* One row: the weight that fixes the scale at one, then the rows of `cases`. */
typedef struct {
  float x;
  uint8_t code;
} tie;

static void check_codes(ql_table table, float extreme, float scale, const tie *ties, size_t count)
{
  float w[32] = {extreme};
  const ql_grid_config grid = table_grid(table, 0);
  for (size_t i = 0; i < count; i++)
    w[i + 1] = ties[i].x;
  ql_qmat *q = round_to(w, 1, count + 1, &grid);
  const ql_qmat_view v = view_of(q);
  assert_true(v.scales[0] == scale);
  for (size_t i = 0; i < count; i++)
    if (v.codes[i + 1] != ties[i].code)
      fail_msg("table %d: %g became code %d, not %d", (int)table, (double)ties[i].x,
               (int)v.codes[i + 1], (int)ties[i].code);
  ql_qmat_destroy(q);
}

static void test_ties(void **state)
{
  /* Ties to the even code, both signs; nothing becomes -0 (code 8). */
  static const tie e2m1[] = {{0.25f, 0},   {0.75f, 2},   {1.25f, 2},  {1.75f, 4},   {2.5f, 4},
                             {3.5f, 6},    {5.0f, 6},    {-0.25f, 0}, {-0.75f, 10}, {-1.25f, 10},
                             {-1.75f, 12}, {-2.5f, 12},  {-5.0f, 14}, {-0.0f, 0},   {-6.0f, 15},
                             {0.2501f, 1}, {-0.2501f, 9}};
  /* The higher level: 7 is half way from 1 to 13, -73.5 + .. in whole steps of the table. */
  static const tie iq4_nl[] = {{7.0f, 9},    {19.0f, 10},  {-4.5f, 8},   {-16.0f, 7},
                               {-28.5f, 6},  {-115.5f, 1}, {101.0f, 15}, {0.0f, 8},
                               {127.0f, 15}, {6.99f, 8},   {-16.01f, 6}};
  /* Towards zero: half of the least level is the one midpoint that f32 holds. */
  static const tie fp4[] = {{0x1.555556p-9f, 0},  {-0x1.555556p-9f, 0}, {0x1.555558p-9f, 1},
                            {-0x1.555558p-9f, 9}, {6.99f / 12, 5},      {10.01f / 12, 3},
                            {9.99f / 12, 2},      {-9.99f / 12, 10},    {-6.99f / 12, 13},
                            {2.51f / 12, 7},      {2.49f / 12, 6}};
  /* The lower level, as bitsandbytes' strict comparisons have it: the midpoints are exact in f64,
   * and the f32 numbers next to them fall to either side. */
  static const tie nf4[] = {{-0.84f, 1},  {-0.86f, 0},  {0.04f, 8},
                            {0.0397f, 7}, {0.862f, 15}, {0.861f, 14}};
  (void)state;
  check_codes(QL_TABLE_E2M1, 6.0f, 1.0f, e2m1, sizeof e2m1 / sizeof e2m1[0]);
  check_codes(QL_TABLE_IQ4_NL, -127.0f, 1.0f, iq4_nl, sizeof iq4_nl / sizeof iq4_nl[0]);
  check_codes(QL_TABLE_FP4, 1.0f, 1.0f, fp4, sizeof fp4 / sizeof fp4[0]);
  check_codes(QL_TABLE_NF4, 1.0f, 1.0f, nf4, sizeof nf4 / sizeof nf4[0]);
}

/* The thresholds that bitsandbytes compares with, as it prints them. */
static void test_nf4_thresholds(void **state)
{
  static const double limits[15] = {
      -0.8480964004993439,  -0.6106329262256622,  -0.4599952697753906,   -0.33967943489551544,
      -0.23460740596055984, -0.13791173323988914, -0.045525018125772476, 0.03979014977812767,
      0.1202552504837513,   0.2035212516784668,   0.2920137718319893,    0.3893125355243683,
      0.5016634166240692,   0.6427869200706482,   0.8614784181118011};
  tie ties[30];
  (void)state;
  for (int i = 0; i < 15; i++) {
    const float at = (float)limits[i];
    ties[2 * i] = (tie){at > limits[i] ? nextafterf(at, -2.0f) : at, (uint8_t)i};
    ties[2 * i + 1] = (tie){nextafterf(ties[2 * i].x, 2.0f), (uint8_t)(i + 1)};
  }
  check_codes(QL_TABLE_NF4, 1.0f, 1.0f, ties, 30);
}

/* Independent search for the nearest level in double precision. */
static double nearest_distance(const float *levels, double scale, double x)
{
  double least = INFINITY;
  for (int i = 0; i < 16; i++)
    least = fmin(least, fabs(scale * (double)levels[i] - x));
  return least;
}

enum { ROWS = 7, COLS = 300, GROUP = 64, GROUPS = 5 };

static void fill(float *w, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    const double u = uniform() - 0.5;
    w[i] = (float)(u * u * u * (uniform() < 0.02 ? 40.0 : 4.0));
  }
}

static void test_nearest(void **state)
{
  static float w[ROWS * COLS], back[ROWS * COLS];
  (void)state;
  for (ql_table table = 1; table <= 4; table++) {
    const float *levels = levels_of(table);
    const double reach = table == QL_TABLE_E2M1 ? 6 : table == QL_TABLE_IQ4_NL ? -127 : 1;
    for (ql_dtype type = QL_DTYPE_F32; type <= QL_DTYPE_BF16; type++) {
      ql_grid_config grid = table_grid(table, GROUP);
      grid.scale_dtype = type;
      fill(w, ROWS * COLS);
      ql_qmat *q = round_to(w, ROWS, COLS, &grid);
      const ql_qmat_view v = view_of(q);
      const double tolerance = type == QL_DTYPE_F32   ? 1e-7
                               : type == QL_DTYPE_F16 ? 0x1p-11
                                                      : 0x1p-8;
      for (size_t r = 0; r < ROWS; r++)
        for (size_t g = 0; g < GROUPS; g++) {
          const size_t end = g + 1 < GROUPS ? (g + 1) * GROUP : COLS;
          double extreme = 0;
          for (size_t c = g * GROUP; c < end; c++)
            if (fabs((double)w[r * COLS + c]) > fabs(extreme))
              extreme = (double)w[r * COLS + c];
          const double s = (double)v.scales[r * GROUPS + g];
          const double want = reach < 0 ? extreme / reach : fabs(extreme) / reach;
          assert_true(fabs(s - want) <= tolerance * fabs(want));
          for (size_t c = g * GROUP; c < end; c++) {
            const double x = (double)w[r * COLS + c];
            const double far = fabs(s * (double)levels[v.codes[r * COLS + c]] - x);
            assert_true(far <= nearest_distance(levels, s, x) * (1 + 1e-12));
          }
        }
      ql_tensor t;
      assert_int_equal(ql_tensor_init_2d(&t, back, QL_DTYPE_F32, ROWS, COLS), 0);
      assert_int_equal(ql_dequantize(ctx, q, &t, NULL), QL_STATUS_OK);
      for (size_t i = 0; i < ROWS * COLS; i++) {
        const double s = (double)v.scales[i / COLS * GROUPS + i % COLS / GROUP];
        assert_true(back[i] == (float)(s * (double)levels[v.codes[i]]));
      }
      ql_qmat_destroy(q);
    }
  }
}

static double error_of(const ql_qmat *q, const float *w)
{
  ql_tensor t;
  double sse;
  assert_int_equal(ql_tensor_init_2d(&t, (void *)(uintptr_t)w, QL_DTYPE_F32, ROWS, COLS), 0);
  assert_int_equal(ql_qmat_error(ctx, q, &t, NULL, &sse, NULL, NULL, NULL, NULL), QL_STATUS_OK);
  return sse;
}

static void test_search(void **state)
{
  static float w[ROWS * COLS];
  (void)state;
  fill(w, ROWS * COLS);
  for (ql_table table = 1; table <= 4; table++) {
    ql_grid_config grid = table_grid(table, 32);
    ql_qmat *plain = round_to(w, ROWS, COLS, &grid);
    grid.mse_norm = 2.0;
    ql_qmat *searched = round_to(w, ROWS, COLS, &grid);
    assert_true(error_of(searched, w) < 0.95 * error_of(plain, w));
    ql_qmat_destroy(plain);
    ql_qmat_destroy(searched);
  }
}

/* Blocks of zeros stay zeros, with or without a level of 0; tiny and huge weights stay finite. */
static void test_corners(void **state)
{
  static const float rows[4][4] = {{0.0f, 0.0f, -0.0f, 0.0f},
                                   {1e-42f, -3e-41f, 2e-41f, 0.0f},
                                   {FLT_MAX, -FLT_MAX, 1.0f, 0.0f},
                                   {-FLT_MAX, 1e38f, 1.0f, 0.0f}};
  (void)state;
  for (ql_table table = 1; table <= 4; table++) {
    float back[16];
    ql_tensor t;
    const ql_grid_config grid = table_grid(table, 0);
    ql_qmat *q = round_to(rows[0], 4, 4, &grid);
    assert_int_equal(ql_tensor_init_2d(&t, back, QL_DTYPE_F32, 4, 4), 0);
    assert_int_equal(ql_dequantize(ctx, q, &t, NULL), QL_STATUS_OK);
    for (int i = 0; i < 16; i++)
      assert_true(isfinite(back[i]) && (i >= 4 || back[i] == 0.0f));
    ql_qmat_destroy(q);
  }
}

typedef struct {
  uint8_t codes[ROWS * COLS];
  float scales[ROWS * GROUPS];
  float levels[ROWS * 256];
  ql_qmat_view view;
} sample;

/* A codebook for each row, or one table. */
static void make_sample(sample *s, int32_t bits, bool per_row)
{
  for (int i = 0; i < ROWS * COLS; i++)
    s->codes[i] = (uint8_t)(uniform() * (1 << bits));
  for (int i = 0; i < ROWS * GROUPS; i++)
    s->scales[i] = (1.0f + (float)floor(uniform() * 127.0)) / 512.0f;
  for (int i = 0; i < ROWS * 256; i++)
    s->levels[i] = (float)(uniform() * 2.0 - 1.0);
  s->view = (ql_qmat_view){.struct_size = sizeof s->view,
                           .rows = ROWS,
                           .cols = COLS,
                           .bits = bits,
                           .kind = QL_GRID_TABLE,
                           .block_rows = 1,
                           .block_cols = GROUP,
                           .groups = GROUPS,
                           .scale_dtype = QL_DTYPE_F16,
                           .codes = s->codes,
                           .scales = s->scales,
                           .levels = s->levels,
                           .level_sets = per_row ? ROWS : 1};
}

static ql_qmat *create(const sample *s)
{
  ql_qmat *q = NULL;
  ql_error error = QL_ERROR_INIT;
  if (ql_qmat_create(ctx, &s->view, &q, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  return q;
}

static void test_codebooks(void **state)
{
  static float back[ROWS * COLS];
  (void)state;
  for (int32_t bits = 1; bits <= 8; bits++)
    for (int per_row = 0; per_row < 2; per_row++) {
      sample s;
      ql_tensor t;
      make_sample(&s, bits, per_row != 0);
      ql_qmat *q = create(&s);
      const ql_qmat_view v = view_of(q);
      assert_null(v.zeros);
      assert_memory_equal(v.levels, s.levels, (s.view.level_sets << bits) * sizeof(float));
      assert_int_equal(ql_qmat_parts(q), QL_PART_TABLE);
      assert_true(ql_qmat_bits(q) == (uint64_t)ROWS * COLS * (uint64_t)bits +
                                         (uint64_t)ROWS * GROUPS * 16 +
                                         (s.view.level_sets << bits) * 32);
      assert_int_equal(ql_tensor_init_2d(&t, back, QL_DTYPE_F32, ROWS, COLS), 0);
      assert_int_equal(ql_dequantize(ctx, q, &t, NULL), QL_STATUS_OK);
      for (size_t i = 0; i < ROWS * COLS; i++) {
        const size_t row = i / COLS, set = per_row ? row : 0;
        const double level = (double)s.levels[(set << bits) + s.codes[i]];
        assert_true(back[i] == (float)((double)s.scales[row * GROUPS + i % COLS / GROUP] * level));
      }
      ql_qmat_destroy(q);
    }
}

/* One rounding to f16: the product lies 2^-31 below the middle of two f16 numbers, f32 has only
 * that middle, and from there the even neighbour is the one above. */
static void test_one_rounding(void **state)
{
  const uint8_t code = 1;
  const float scale = 0x1.004p0f; /* 1 + 2^-10, times 1 + 2^-11 - 2^-21 */
  const float levels[2] = {0.0f, 0x1.001ff8p0f};
  uint16_t half = 0;
  ql_qmat *q = NULL;
  ql_tensor t;
  const ql_qmat_view v = {.struct_size = sizeof v,
                          .rows = 1,
                          .cols = 1,
                          .bits = 1,
                          .kind = QL_GRID_TABLE,
                          .block_rows = 1,
                          .block_cols = 1,
                          .groups = 1,
                          .scale_dtype = QL_DTYPE_F16,
                          .codes = &code,
                          .scales = &scale,
                          .levels = levels,
                          .level_sets = 1};
  (void)state;
  assert_true((float)((double)scale * (double)levels[1]) == 0x1.006p0f);
  assert_int_equal(ql_qmat_create(ctx, &v, &q, NULL), QL_STATUS_OK);
  assert_int_equal(ql_tensor_init_2d(&t, &half, QL_DTYPE_F16, 1, 1), 0);
  assert_int_equal(ql_dequantize(ctx, q, &t, NULL), QL_STATUS_OK);
  assert_int_equal(half, 0x3c01);
  ql_qmat_destroy(q);
}

static void test_with(void **state)
{
  sample s;
  float other[ROWS << 3];
  ql_qmat *changed = NULL;
  (void)state;
  make_sample(&s, 3, true);
  ql_qmat *q = create(&s);
  for (int i = 0; i < ROWS << 3; i++)
    other[i] = (float)i;
  ql_qmat_view parts = {.struct_size = sizeof parts, .levels = other, .level_sets = ROWS};
  assert_int_equal(ql_qmat_with(ctx, q, &parts, &changed, NULL), QL_STATUS_OK);
  assert_memory_equal(view_of(changed).levels, other, sizeof other);
  assert_memory_equal(view_of(changed).codes, s.codes, sizeof s.codes);
  ql_qmat_destroy(changed);
  parts.level_sets = 1;
  assert_int_equal(ql_qmat_with(ctx, q, &parts, &changed, NULL), QL_STATUS_OK);
  assert_int_equal(view_of(changed).level_sets, 1);
  ql_qmat_destroy(changed);
  parts.level_sets = 2;
  assert_int_equal(ql_qmat_with(ctx, q, &parts, &changed, NULL), QL_STATUS_SHAPE);
  parts = (ql_qmat_view){.struct_size = sizeof parts};
  assert_int_equal(ql_qmat_with(ctx, q, &parts, &changed, NULL), QL_STATUS_OK);
  assert_memory_equal(view_of(changed).levels, s.levels, sizeof(float) * (ROWS << 3));
  ql_qmat_destroy(changed);
  ql_qmat_destroy(q);
}

static void expect_refused(const sample *s, ql_status want, const char *text)
{
  ql_error error = QL_ERROR_INIT;
  ql_qmat *q = NULL;
  assert_int_equal(ql_qmat_create(ctx, &s->view, &q, &error), want);
  assert_non_null(strstr(error.text, text));
  assert_null(q);
}

static void test_refusals(void **state)
{
  static int16_t zeros[ROWS * GROUPS];
  sample s;
  (void)state;
  make_sample(&s, 4, true);
  s.view.levels = NULL;
  expect_refused(&s, QL_STATUS_INVALID_ARGUMENT, "levels are NULL");
  make_sample(&s, 4, true);
  s.view.level_sets = ROWS - 1;
  expect_refused(&s, QL_STATUS_SHAPE, "one for all or one for each");
  s.view.level_sets = 0;
  expect_refused(&s, QL_STATUS_SHAPE, "one for all or one for each");
  make_sample(&s, 4, true);
  s.levels[16 * ROWS - 1] = NAN;
  expect_refused(&s, QL_STATUS_NUMERIC, "level 15 of table 6");
  make_sample(&s, 4, false);
  s.levels[3] = INFINITY;
  expect_refused(&s, QL_STATUS_NUMERIC, "level 3 of table 0");
  make_sample(&s, 4, false);
  s.view.zeros = zeros;
  expect_refused(&s, QL_STATUS_INVALID_ARGUMENT, "no zero points");
  make_sample(&s, 4, false);
  s.view.kind = QL_GRID_SYM_FULL;
  expect_refused(&s, QL_STATUS_INVALID_ARGUMENT, "not QL_GRID_TABLE");
  make_sample(&s, 4, false);
  s.codes[77] = 16;
  expect_refused(&s, QL_STATUS_INVALID_ARGUMENT, "exceeds 15");
}

/* What was compiled before tables, or does not know them, refuses such a matrix. */
static void test_strangers(void **state)
{
  sample s;
  ql_error error = QL_ERROR_INIT;
  ql_qmat_view old = {.struct_size = offsetof(ql_qmat_view, levels)};
  (void)state;
  make_sample(&s, 4, false);
  ql_qmat *q = create(&s);
  assert_int_equal(ql_qmat_get(q, &old), QL_STATUS_UNSUPPORTED);
  old.struct_size = offsetof(ql_qmat_view, level_sets);
  assert_int_equal(ql_qmat_get(q, &old), QL_STATUS_UNSUPPORTED);
  ql_format_part parts[QL_FORMAT_MAX_PARTS];
  size_t count = 0;
  assert_int_equal(ql_format_parts_of(QL_FORMAT_GPTQ, q, parts, &count, &error),
                   QL_STATUS_UNSUPPORTED);
  assert_non_null(strstr(error.text, "a table of levels"));
  ql_qmat_destroy(q);
}

static ql_status check_grid(const ql_grid_config *g)
{
  return ql_grid_check(g, 4, 64, NULL);
}

static void test_grid_config(void **state)
{
  ql_grid_config g = table_grid(QL_TABLE_NF4, 64);
  ql_error error = QL_ERROR_INIT;
  (void)state;
  assert_int_equal(check_grid(&g), QL_STATUS_OK);
  g.bits = 3;
  assert_int_equal(check_grid(&g), QL_STATUS_INVALID_ARGUMENT);
  g = table_grid(QL_TABLE_NONE, 64);
  assert_int_equal(check_grid(&g), QL_STATUS_INVALID_ARGUMENT);
  g = table_grid(77, 64);
  assert_int_equal(check_grid(&g), QL_STATUS_INVALID_ARGUMENT);
  g = table_grid(QL_TABLE_NF4, 64);
  g.kind = QL_GRID_SYM_FULL;
  assert_int_equal(check_grid(&g), QL_STATUS_INVALID_ARGUMENT);
  g = table_grid(QL_TABLE_NF4, 64);
  g.reserved = 1;
  assert_int_equal(check_grid(&g), QL_STATUS_INVALID_ARGUMENT);
  /* A caller that was compiled before has the struct without the table. */
  ql_grid_config old = QL_GRID_CONFIG_INIT;
  old.struct_size = offsetof(ql_grid_config, table);
  old.table = 99;
  assert_int_equal(check_grid(&old), QL_STATUS_OK);
  /* Methods that need steps and zero points say so. */
  float w[64] = {1.0f};
  ql_tensor t;
  ql_qmat *q = NULL;
  ql_algo *hqq = NULL;
  g = table_grid(QL_TABLE_NF4, 64);
  assert_int_equal(ql_tensor_init_2d(&t, w, QL_DTYPE_F32, 1, 64), 0);
  assert_int_equal(ql_algo_create(ctx, "hqq", NULL, 0, &hqq, NULL), QL_STATUS_OK);
  const ql_algo_input input = {.struct_size = sizeof input, .w = &t, .grid = &g};
  assert_int_not_equal(ql_algo_run(ctx, hqq, &input, &q, NULL, &error), QL_STATUS_OK);
  ql_algo_destroy(hqq);
  assert_int_equal(ql_format_admits(QL_FORMAT_GPTQ, &g, 64, 64, 0, &error), QL_STATUS_UNSUPPORTED);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_published_levels),
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_golden_nf4),
      cmocka_unit_test(test_ties),
      cmocka_unit_test(test_nf4_thresholds),
      cmocka_unit_test(test_nearest),
      cmocka_unit_test(test_search),
      cmocka_unit_test(test_corners),
      cmocka_unit_test(test_codebooks),
      cmocka_unit_test(test_one_rounding),
      cmocka_unit_test(test_with),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_strangers),
      cmocka_unit_test(test_grid_config),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
