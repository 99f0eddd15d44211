/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* ql_quantize_rows against the mathematics of one block in double precision, group by group: the
 * same bits for every grid that it knows, on every ISA; and what it refuses. */
#include "../cm.h"
#include "find.h"

#include <quantlib/quantlib.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 1;

static uint32_t random_bits(void)
{
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}

/* Now and then a group of zeros, of one sign, of numbers on a coarse grid (ties), or tiny. */
static float weight(size_t group, size_t row)
{
  const float x = (float)(int32_t)(random_bits() % 20001u) * 1e-4f - 1.0f;
  switch ((group * 5 + row) % 9) {
  case 0: return 0.0f;
  case 1: return fabsf(x);
  case 2: return -fabsf(x) - 0.25f;
  case 3: return (float)(int32_t)(random_bits() % 31u) * 0.125f - 2.0f;
  case 4: return x * 1e-30f;
  default: return x * x * x;
  }
}

typedef struct {
  size_t rows, cols, groups;
  float *values; /* of w, in f32 */
  ql_tensor w, codes, scales, zeros;
  ql_grid_config grid;
} sample;

static void *room(size_t bytes)
{
  void *p = calloc(1, bytes + 1);
  assert_non_null(p);
  return p;
}

static void make(const ql_ctx *ctx, sample *s, ql_dtype type, size_t rows, size_t cols)
{
  const size_t group = s->grid.block_cols ? s->grid.block_cols : cols;
  s->rows = rows;
  s->cols = cols;
  s->groups = (cols + group - 1) / group;
  s->values = room(rows * cols * sizeof(float));
  for (size_t i = 0; i < rows * cols; i++)
    s->values[i] = weight(i % cols / group, i / cols);
  ql_tensor f32;
  ql_tensor_init_2d(&f32, s->values, QL_DTYPE_F32, rows, cols);
  ql_tensor_init_2d(&s->w, room(rows * cols * 4), type, rows, cols);
  assert_int_equal(ql_tensor_convert(ctx, &f32, &s->w, NULL), QL_STATUS_OK);
  assert_int_equal(ql_tensor_convert(ctx, &s->w, &f32, NULL), QL_STATUS_OK);
  ql_tensor_init_2d(&s->codes, room(rows * cols), QL_DTYPE_U8, rows, cols);
  ql_tensor_init_2d(&s->scales, room(rows * s->groups * 4), QL_DTYPE_F32, rows, s->groups);
  ql_tensor_init_2d(&s->zeros, room(rows * s->groups * 2), QL_DTYPE_I16, rows, s->groups);
}

static void clear(sample *s)
{
  free(s->values);
  free(s->w.data);
  free(s->codes.data);
  free(s->scales.data);
  free(s->zeros.data);
}

/* Whether some scale cannot be stored, in which case the call has to fail too. */
static int expect_group(const sample *s, const qli_grid *g, size_t row, size_t k)
{
  double x[5000];
  qli_point p;
  const size_t first = k * g->block_cols;
  const size_t n = first + g->block_cols < s->cols ? g->block_cols : s->cols - first;
  for (size_t i = 0; i < n; i++)
    x[i] = (double)s->values[row * s->cols + first + i];
  const qli_cells cells = {x, 1, n, n, NULL};
  if (!qli_grid_find(g, &cells, &p))
    return 0;
  assert_true(((float *)s->scales.data)[row * s->groups + k] == p.scale);
  assert_int_equal(((int16_t *)s->zeros.data)[row * s->groups + k], p.zero);
  for (size_t i = 0; i < n; i++) {
    const int got = ((uint8_t *)s->codes.data)[row * s->cols + first + i];
    if (got != qli_grid_code(g, p, x[i]))
      fail_msg("row %zu, column %zu: %a at scale %a, zero %d became %d", row, first + i, x[i],
               (double)p.scale, (int)p.zero, got);
  }
  return 1;
}

static void check(const ql_ctx *ctx, sample *s)
{
  qli_grid g;
  ql_error error = QL_ERROR_INIT;
  assert_int_equal(qli_grid_resolve(&s->grid, s->rows, s->cols, &g, &error), QL_STATUS_OK);
  const ql_status status =
      ql_quantize_rows(ctx, &s->w, &s->grid, &s->codes, &s->scales, &s->zeros, &error);
  int stored = 1;
  for (size_t r = 0; r < s->rows && status == QL_STATUS_OK; r++)
    for (size_t k = 0; k < s->groups; k++)
      stored &= expect_group(s, &g, r, k);
  if (status != QL_STATUS_OK)
    fail_msg("%s", error.text);
  assert_true(stored);
}

static void for_each_isa(void (*run)(const ql_ctx *ctx))
{
  int32_t runnable;
  const char *name;
  for (size_t i = 0; (name = ql_isa_list(i, &runnable)) != NULL; i++) {
    ql_ctx_config config = QL_CTX_CONFIG_INIT;
    ql_ctx *ctx = NULL;
    config.isa = name;
    if (!runnable)
      continue;
    assert_int_equal(ql_ctx_create(&config, &ctx, NULL), QL_STATUS_OK);
    run(ctx);
    ql_ctx_destroy(ctx);
  }
}

static void check_grids(const ql_ctx *ctx)
{
  static const ql_grid_kind kinds[] = {QL_GRID_ASYM, QL_GRID_SYM_CENTRED, QL_GRID_SYM_RESTRICTED,
                                       QL_GRID_SYM_FULL, QL_GRID_SYM_SIGNED};
  static const size_t groups[] = {128, 1, 7, 32, 0, 300}, cols[] = {300, 64, 129, 4321};
  for (size_t i = 0; i < 300; i++) {
    sample s = {.grid = QL_GRID_CONFIG_INIT};
    const size_t width = cols[i % 4];
    s.grid.kind = kinds[i % 5];
    s.grid.bits = (int32_t)(2 + i % 7);
    s.grid.block_cols = groups[i % 6];
    s.grid.scale_dtype = (ql_dtype)(1 + i / 5 % 3);
    if (s.grid.kind == QL_GRID_ASYM && i % 2 == 0)
      s.grid.zero_min = 1;
    if (s.grid.kind == QL_GRID_ASYM && i % 3 == 0)
      s.grid.flags = QL_GRID_RAW_RANGE;
    make(ctx, &s, (ql_dtype)(1 + i / 2 % 3), width > 4000 ? 1 : 1 + i % 18, width);
    check(ctx, &s);
    clear(&s);
  }
}

static void test_grids(void **unused)
{
  (void)unused;
  for_each_isa(check_grids);
}

static void check_strides(const ql_ctx *ctx)
{
  sample s = {.grid = QL_GRID_CONFIG_INIT};
  make(ctx, &s, QL_DTYPE_F32, 6, 140);
  /* Every second row and column of the weights. */
  for (size_t r = 0; r < 3; r++)
    for (size_t c = 0; c < 70; c++)
      s.values[r * 70 + c] = s.values[2 * r * 140 + 2 * c];
  s.rows = s.w.shape[0] = s.codes.shape[0] = s.scales.shape[0] = s.zeros.shape[0] = 3;
  s.cols = s.w.shape[1] = s.codes.shape[1] = 70;
  s.groups = s.scales.shape[1] = s.zeros.shape[1] = 1;
  s.w.stride[0] *= 2;
  s.w.stride[1] *= 2;
  s.codes.stride[0] = 70;
  s.scales.stride[0] = 4;
  s.zeros.stride[0] = 2;
  check(ctx, &s);
  clear(&s);
}

static void test_strides(void **unused)
{
  (void)unused;
  for_each_isa(check_strides);
}

static void test_half_scales(void **unused)
{
  ql_ctx *ctx = NULL;
  sample s = {.grid = QL_GRID_CONFIG_INIT};
  uint16_t halves[4 * 3];
  (void)unused;
  assert_int_equal(ql_ctx_create(NULL, &ctx, NULL), QL_STATUS_OK);
  make(ctx, &s, QL_DTYPE_F32, 4, 300);
  check(ctx, &s);
  ql_tensor f16 = s.scales;
  f16.data = halves;
  f16.dtype = QL_DTYPE_F16;
  f16.stride[0] = 6;
  f16.stride[1] = 2;
  assert_int_equal(ql_quantize_rows(ctx, &s.w, &s.grid, &s.codes, &f16, NULL, NULL), QL_STATUS_OK);
  float *wide = room(12 * sizeof(float));
  ql_tensor back;
  ql_tensor_init_2d(&back, wide, QL_DTYPE_F32, 4, 3);
  assert_int_equal(ql_tensor_convert(ctx, &f16, &back, NULL), QL_STATUS_OK);
  assert_memory_equal(wide, s.scales.data, 12 * sizeof(float));
  free(wide);
  clear(&s);
  ql_ctx_destroy(ctx);
}

static ql_status status_of(const ql_ctx *ctx, const sample *s, ql_error *error)
{
  return ql_quantize_rows(ctx, &s->w, &s->grid, &s->codes, &s->scales, &s->zeros, error);
}

static void test_refused(void **unused)
{
  ql_ctx *ctx = NULL;
  sample s = {.grid = QL_GRID_CONFIG_INIT};
  ql_error error = QL_ERROR_INIT;
  (void)unused;
  assert_int_equal(ql_ctx_create(NULL, &ctx, NULL), QL_STATUS_OK);
  make(ctx, &s, QL_DTYPE_F32, 20, 300);
  for (size_t i = 0; i < 3; i++) {
    float *w = s.w.data, kept = w[17 * 300 + 211];
    w[17 * 300 + 211] = i == 0 ? NAN : i == 1 ? INFINITY : -INFINITY;
    assert_int_equal(status_of(ctx, &s, &error), QL_STATUS_NUMERIC);
    assert_int_equal(error.row, 17);
    assert_int_equal(error.col, 211);
    w[17 * 300 + 211] = kept;
  }
  ((float *)s.w.data)[5 * 300 + 3] = 1e30f;
  assert_int_equal(status_of(ctx, &s, &error), QL_STATUS_NUMERIC);
  assert_non_null(strstr(error.text, "does not fit the type F16"));
  assert_int_equal(error.row, 5);
  sample other = s;
  other.grid.kind = QL_GRID_FLOAT_ZERO;
  assert_int_equal(status_of(ctx, &other, &error), QL_STATUS_UNSUPPORTED);
  other.grid = s.grid;
  other.grid.mse_norm = 2.0;
  assert_int_equal(status_of(ctx, &other, &error), QL_STATUS_UNSUPPORTED);
  other.grid = s.grid;
  other.grid.block_rows = 2;
  assert_int_equal(status_of(ctx, &other, &error), QL_STATUS_UNSUPPORTED);
  other = s;
  other.codes.dtype = QL_DTYPE_I8;
  assert_int_equal(status_of(ctx, &other, &error), QL_STATUS_DTYPE);
  other = s;
  other.scales.dtype = QL_DTYPE_BF16;
  other.scales.stride[1] = 2;
  assert_int_equal(status_of(ctx, &other, &error), QL_STATUS_DTYPE);
  other = s;
  other.zeros.shape[1] = 2;
  assert_int_equal(status_of(ctx, &other, &error), QL_STATUS_SHAPE);
  other.grid.kind = QL_GRID_ASYM;
  assert_int_equal(ql_quantize_rows(ctx, &s.w, &other.grid, &s.codes, &s.scales, NULL, &error),
                   QL_STATUS_INVALID_ARGUMENT);
  assert_int_equal(ql_quantize_rows(NULL, &s.w, &s.grid, &s.codes, &s.scales, NULL, &error),
                   QL_STATUS_INVALID_ARGUMENT);
  clear(&s);
  ql_ctx_destroy(ctx);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_grids), cmocka_unit_test(test_strides),
                                     cmocka_unit_test(test_half_scales),
                                     cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
