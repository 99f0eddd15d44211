/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* The optional parts of a quantized matrix: kept as given, counted in the weights, refused where
 * they are wrong, and never hidden from a caller that cannot see them. */
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

enum { ROWS = 6, COLS = 300, GROUP = 64, GROUPS = 5, SIDE = 4, RANK = 3 };

typedef struct {
  uint8_t codes[ROWS * COLS];
  float scales[ROWS * GROUPS];
  int16_t zeros[ROWS * GROUPS];
  float fzeros[ROWS * GROUPS];
  float in_scale[COLS];
  int32_t side_cols[SIDE];
  float side_values[ROWS * SIDE];
  float side_scales[SIDE];
  float lora_a[RANK * COLS];
  float lora_b[ROWS * RANK];
  ql_qmat_view view;
} sample;

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

/* Values with few bits, so that F16 and BF16 hold them. */
static float short_value(void)
{
  return (float)(floor(uniform() * 255.0) - 127.0) / 64.0f;
}

static void plain_sample(sample *s)
{
  memset(s, 0, sizeof *s);
  for (int i = 0; i < ROWS * COLS; i++)
    s->codes[i] = (uint8_t)(uniform() * 16.0);
  for (int i = 0; i < ROWS * GROUPS; i++) {
    s->scales[i] = (1.0f + (float)floor(uniform() * 127.0)) / 512.0f;
    s->zeros[i] = (int16_t)(uniform() * 16.0);
    s->fzeros[i] = short_value() * 8.0f;
  }
  for (int i = 0; i < COLS; i++)
    s->in_scale[i] = (float)exp2(uniform() * 4.0 - 2.0);
  for (int j = 0; j < SIDE; j++) {
    s->side_cols[j] = (int32_t[SIDE]){0, 63, 257, COLS - 1}[j];
    s->side_scales[j] = (float)(0.001 + uniform());
  }
  for (int i = 0; i < ROWS * SIDE; i++)
    s->side_values[i] = (float)(floor(uniform() * 255.0) - 127.0);
  for (int i = 0; i < RANK * COLS; i++)
    s->lora_a[i] = short_value();
  for (int i = 0; i < ROWS * RANK; i++)
    s->lora_b[i] = short_value();
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

static void add_parts(sample *s, uint32_t parts, bool i8)
{
  ql_qmat_view *v = &s->view;
  if (parts & QL_PART_FLOAT_ZEROS) {
    v->kind = QL_GRID_FLOAT_ZERO;
    v->zeros = NULL;
    v->fzeros = s->fzeros;
  }
  if (parts & QL_PART_IN_SCALE)
    v->in_scale = s->in_scale;
  if (parts & QL_PART_SIDE_COLUMNS) {
    v->side_count = SIDE;
    v->side_cols = s->side_cols;
    v->side_values = s->side_values;
    v->side_scales = i8 ? s->side_scales : NULL;
    v->side_dtype = i8 ? QL_DTYPE_I8 : QL_DTYPE_F16;
  }
  if (parts & QL_PART_LOW_RANK) {
    v->rank = RANK;
    v->lora_a = s->lora_a;
    v->lora_b = s->lora_b;
    v->lora_dtype = i8 ? QL_DTYPE_BF16 : QL_DTYPE_F16;
  }
}

/* The formula of the header. */
static double weight(const ql_qmat_view *v, size_t r, size_t c)
{
  const size_t block = r * v->groups + c / GROUP;
  const double z = v->fzeros ? (double)v->fzeros[block] : (double)v->zeros[block];
  double w = (double)v->scales[block] * ((double)v->codes[r * COLS + c] - z);
  for (size_t j = 0; j < v->side_count; j++)
    if ((size_t)v->side_cols[j] == c)
      w = (v->side_scales ? (double)v->side_scales[j] : 1.0) *
          (double)v->side_values[r * v->side_count + j];
  if (v->in_scale)
    w *= (double)v->in_scale[c];
  for (size_t k = 0; k < v->rank; k++)
    w += (double)v->lora_b[r * v->rank + k] * (double)v->lora_a[k * COLS + c];
  return w;
}

static void check_weights(const ql_qmat *q, const ql_qmat_view *v)
{
  static float w[ROWS * COLS];
  static uint16_t h[ROWS * COLS];
  ql_tensor t;
  assert_int_equal(ql_tensor_init_2d(&t, w, QL_DTYPE_F32, ROWS, COLS), QL_STATUS_OK);
  assert_int_equal(ql_dequantize(ctx, q, &t, NULL), QL_STATUS_OK);
  for (size_t i = 0; i < ROWS * COLS; i++)
    assert_true(w[i] == (float)weight(v, i / COLS, i % COLS));
  assert_int_equal(ql_tensor_init_2d(&t, h, QL_DTYPE_BF16, ROWS, COLS), QL_STATUS_OK);
  assert_int_equal(ql_dequantize(ctx, q, &t, NULL), QL_STATUS_OK);
  for (size_t i = 0; i < ROWS * COLS; i++) {
    const uint32_t bits = (uint32_t)h[i] << 16;
    float got;
    memcpy(&got, &bits, sizeof got);
    /* Half a unit in the last of 8 places, and no more: one rounding. */
    const double exact = weight(v, i / COLS, i % COLS);
    int e;
    frexp(exact, &e);
    assert_true(exact == 0.0 || fabs((double)got - exact) <= ldexp(0.5, e - 8));
  }
}

static void check_error(const ql_qmat *q, const ql_qmat_view *v)
{
  static float w[ROWS * COLS];
  double sse, ref, want = 0.0;
  ql_tensor t;
  for (size_t i = 0; i < ROWS * COLS; i++) {
    w[i] = (float)uniform();
    const double d = (double)w[i] - (double)(float)weight(v, i / COLS, i % COLS);
    want += d * d;
  }
  assert_int_equal(ql_tensor_init_2d(&t, w, QL_DTYPE_F32, ROWS, COLS), QL_STATUS_OK);
  assert_int_equal(ql_qmat_error(ctx, q, &t, NULL, &sse, &ref, NULL, NULL, NULL), QL_STATUS_OK);
  assert_true(fabs(sse - want) <= 1e-12 * want);
}

static void check_view(const ql_qmat *q, const ql_qmat_view *want)
{
  ql_qmat_view v = {.struct_size = sizeof v};
  assert_int_equal(ql_qmat_get(q, &v), QL_STATUS_OK);
#define SAME(member, count) \
  do { \
    assert_int_equal(v.member == NULL, want->member == NULL); \
    if (v.member != NULL) { \
      assert_ptr_not_equal(v.member, want->member); \
      assert_memory_equal(v.member, want->member, (count) * sizeof *v.member); \
    } \
  } while (0)
  SAME(fzeros, ROWS * GROUPS);
  SAME(zeros, ROWS * GROUPS);
  SAME(in_scale, COLS);
  SAME(side_cols, SIDE);
  SAME(side_values, ROWS * SIDE);
  SAME(side_scales, SIDE);
  SAME(lora_a, RANK * COLS);
  SAME(lora_b, ROWS * RANK);
#undef SAME
  assert_int_equal(v.side_count, want->side_count);
  assert_int_equal(v.side_dtype, want->side_dtype);
  assert_int_equal(v.rank, want->rank);
  assert_int_equal(v.lora_dtype, want->lora_dtype);
}

static uint64_t bits_of(uint32_t parts, bool i8)
{
  uint64_t bits = ROWS * COLS * 4;
  bits += ROWS * GROUPS * (parts & QL_PART_FLOAT_ZEROS ? 32u : 20u);
  bits += parts & QL_PART_IN_SCALE ? COLS * 32 : 0;
  if (parts & QL_PART_SIDE_COLUMNS)
    bits += i8 ? SIDE * (ROWS * 8 + 64) : SIDE * (ROWS * 16 + 32);
  bits += parts & QL_PART_LOW_RANK ? RANK * (ROWS + COLS) * 16 : 0;
  return bits;
}

static void test_every_combination(void **state)
{
  (void)state;
  for (uint32_t i = 0; i < 32; i++) {
    const uint32_t parts = i / 2;
    const bool i8 = i % 2;
    sample s;
    plain_sample(&s);
    add_parts(&s, parts, i8);
    ql_qmat *q = NULL;
    assert_int_equal(ql_qmat_create(ctx, &s.view, &q, NULL), QL_STATUS_OK);
    assert_int_equal(ql_qmat_parts(q), parts);
    assert_int_equal(ql_qmat_bits(q), bits_of(parts, i8));
    check_view(q, &s.view);
    check_weights(q, &s.view);
    check_error(q, &s.view);
    ql_qmat_destroy(q);
  }
  assert_int_equal(ql_qmat_parts(NULL), 0);
}

/* A caller that was compiled when the struct ended earlier. */
static void test_smaller_view(void **state)
{
  (void)state;
  static const struct {
    uint32_t part;
    size_t end; /* of the smallest view that shows the part */
  } cases[] = {{QL_PART_FLOAT_ZEROS, offsetof(ql_qmat_view, in_scale)},
               {QL_PART_IN_SCALE, offsetof(ql_qmat_view, side_count)},
               {QL_PART_SIDE_COLUMNS, offsetof(ql_qmat_view, lora_dtype)},
               {QL_PART_LOW_RANK, offsetof(ql_qmat_view, levels)}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    sample s;
    ql_qmat *q = NULL;
    plain_sample(&s);
    add_parts(&s, cases[i].part, false);
    assert_int_equal(ql_qmat_create(ctx, &s.view, &q, NULL), QL_STATUS_OK);
    for (size_t size = 0; size <= sizeof s.view; size += 4) {
      ql_qmat_view v;
      memset(&v, 0x5a, sizeof v);
      v.struct_size = size;
      const ql_status wanted = size < offsetof(ql_qmat_view, fzeros) ? QL_STATUS_INVALID_ARGUMENT
                               : size < cases[i].end                 ? QL_STATUS_UNSUPPORTED
                                                                     : QL_STATUS_OK;
      assert_int_equal(ql_qmat_get(q, &v), wanted);
      for (size_t at = wanted == QL_STATUS_OK ? size : sizeof v.struct_size; at < sizeof v; at++)
        assert_int_equal(((const unsigned char *)&v)[at], 0x5a);
    }
    ql_qmat_destroy(q);
  }
}

static void test_versions(void **state)
{
  (void)state;
  sample s;
  ql_qmat *q = NULL;
  plain_sample(&s);
  assert_int_equal(ql_qmat_create(ctx, &s.view, &q, NULL), QL_STATUS_OK);
  /* Without parts the old view shows everything. */
  ql_qmat_view v = {.struct_size = offsetof(ql_qmat_view, fzeros)};
  assert_int_equal(ql_qmat_get(q, &v), QL_STATUS_OK);
  assert_int_equal(v.struct_size, offsetof(ql_qmat_view, fzeros));
  assert_int_equal(v.rows, ROWS);
  ql_qmat_destroy(q);
  /* A newer caller's unknown members read as absent. */
  struct {
    ql_qmat_view view;
    void *newer;
  } grown = {.newer = &s};
  q = NULL;
  add_parts(&s, QL_PART_LOW_RANK, false);
  assert_int_equal(ql_qmat_create(ctx, &s.view, &q, NULL), QL_STATUS_OK);
  grown.view.struct_size = sizeof grown;
  assert_int_equal(ql_qmat_get(q, &grown.view), QL_STATUS_OK);
  assert_null(grown.newer);
  assert_int_equal(grown.view.rank, RANK);
  ql_qmat_destroy(q);
  /* What an old caller gives has no parts, whatever lies behind its struct. */
  q = NULL;
  s.view.struct_size = offsetof(ql_qmat_view, fzeros);
  assert_int_equal(ql_qmat_create(ctx, &s.view, &q, NULL), QL_STATUS_OK);
  assert_int_equal(ql_qmat_parts(q), 0);
  ql_qmat_destroy(q);
}

static void refuse(const ql_qmat_view *v, ql_status wanted, int64_t row, int64_t col)
{
  ql_qmat *q = NULL;
  ql_error error = QL_ERROR_INIT;
  assert_int_equal(ql_qmat_create(ctx, v, &q, &error), wanted);
  assert_null(q);
  assert_int_equal(error.status, wanted);
  assert_int_equal(error.row, row);
  assert_int_equal(error.col, col);
}

static void test_refused(void **state)
{
  (void)state;
  const ql_status invalid = QL_STATUS_INVALID_ARGUMENT;
  sample s;
#define WITH(parts, i8, change, status, row, col) \
  do { \
    plain_sample(&s); \
    add_parts(&s, parts, i8); \
    change; \
    refuse(&s.view, status, row, col); \
  } while (0)
  WITH(QL_PART_FLOAT_ZEROS, 0, s.fzeros[GROUPS + 2] = NAN, QL_STATUS_NUMERIC, 1, 2);
  WITH(QL_PART_FLOAT_ZEROS, 0, s.fzeros[0] = 0.1f, invalid, 0, 0);
  WITH(QL_PART_FLOAT_ZEROS, 0, s.view.zeros = s.zeros, invalid, -1, -1);
  WITH(QL_PART_FLOAT_ZEROS, 0, s.view.fzeros = NULL, invalid, -1, -1);
  WITH(QL_PART_FLOAT_ZEROS, 0, (s.view.kind = QL_GRID_ASYM, s.view.zeros = s.zeros), invalid, -1,
       -1);
  WITH(QL_PART_IN_SCALE, 0, s.in_scale[7] = 0.0f, QL_STATUS_NUMERIC, -1, 7);
  WITH(QL_PART_IN_SCALE, 0, s.in_scale[COLS - 1] = INFINITY, QL_STATUS_NUMERIC, -1, COLS - 1);
  WITH(QL_PART_IN_SCALE, 0, s.in_scale[0] = NAN, QL_STATUS_NUMERIC, -1, 0);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.side_cols[1] = 0, invalid, -1, -1);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.side_cols[0] = -1, invalid, -1, -1);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.side_cols[SIDE - 1] = COLS, invalid, -1, -1);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.side_values[SIDE + 1] = 0.1f, invalid, 1, 63);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.side_values[SIDE + 1] = 1e6f, invalid, 1, 63);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.side_values[0] = NAN, QL_STATUS_NUMERIC, 0, 0);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.view.side_scales = s.side_scales, invalid, -1, -1);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.view.side_dtype = QL_DTYPE_F32, QL_STATUS_DTYPE, -1, -1);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.view.side_count = COLS + 1, QL_STATUS_SHAPE, -1, -1);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.view.side_count = SIZE_MAX, QL_STATUS_SHAPE, -1, -1);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.view.side_count = 0, invalid, -1, -1);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.view.side_cols = NULL, invalid, -1, -1);
  WITH(QL_PART_SIDE_COLUMNS, 0, s.view.side_values = NULL, invalid, -1, -1);
  WITH(QL_PART_SIDE_COLUMNS, 1, s.side_values[SIDE] = 128.0f, invalid, 1, 0);
  WITH(QL_PART_SIDE_COLUMNS, 1, s.side_values[SIDE] = 0.5f, invalid, 1, 0);
  WITH(QL_PART_SIDE_COLUMNS, 1, s.side_values[SIDE] = NAN, invalid, 1, 0);
  WITH(QL_PART_SIDE_COLUMNS, 1, s.side_scales[2] = NAN, QL_STATUS_NUMERIC, -1, -1);
  WITH(QL_PART_SIDE_COLUMNS, 1, s.view.side_scales = NULL, invalid, -1, -1);
  WITH(QL_PART_LOW_RANK, 0, s.lora_a[COLS + 9] = 0.1f, invalid, 1, 9);
  WITH(QL_PART_LOW_RANK, 0, s.lora_a[0] = INFINITY, QL_STATUS_NUMERIC, 0, 0);
  WITH(QL_PART_LOW_RANK, 0, s.lora_b[RANK + 2] = NAN, QL_STATUS_NUMERIC, 1, 2);
  WITH(QL_PART_LOW_RANK, 0, s.view.lora_a = NULL, invalid, -1, -1);
  WITH(QL_PART_LOW_RANK, 0, s.view.lora_b = NULL, invalid, -1, -1);
  WITH(QL_PART_LOW_RANK, 0, s.view.lora_dtype = QL_DTYPE_I8, QL_STATUS_DTYPE, -1, -1);
  WITH(QL_PART_LOW_RANK, 0, s.view.lora_dtype = QL_DTYPE_NONE, QL_STATUS_DTYPE, -1, -1);
  WITH(QL_PART_LOW_RANK, 0, s.view.rank = 0, invalid, -1, -1);
  WITH(QL_PART_LOW_RANK, 0, s.view.rank = SIZE_MAX / 2, QL_STATUS_OVERFLOW, -1, -1);
  WITH(QL_PART_LOW_RANK, 0, s.view.rank = INT32_MAX + (size_t)1, QL_STATUS_OVERFLOW, -1, -1);
#undef WITH
}

/* One bit and ternary codes, and what they imply. */
static void test_small_widths(void **state)
{
  (void)state;
  for (int i = 0; i < 3; i++) {
    const bool ternary = i == 0;
    sample s;
    ql_qmat *q = NULL;
    plain_sample(&s);
    s.view.bits = ternary ? 2 : 1;
    s.view.kind = ternary ? QL_GRID_TERNARY : i == 1 ? QL_GRID_SYM_CENTRED : QL_GRID_ASYM;
    for (int c = 0; c < ROWS * COLS; c++)
      s.codes[c] = (uint8_t)(s.codes[c] % (ternary ? 3 : 2));
    for (int b = 0; b < ROWS * GROUPS; b++)
      s.zeros[b] = (int16_t)(i == 2 ? b % 3 : 1);
    if (i != 2)
      s.view.zeros = NULL;
    assert_int_equal(ql_qmat_create(ctx, &s.view, &q, NULL), QL_STATUS_OK);
    s.view.zeros = s.zeros;
    check_view(q, &s.view);
    check_weights(q, &s.view);
    ql_qmat_destroy(q);
    s.codes[COLS + 1] = ternary ? 3 : 2;
    refuse(&s.view, QL_STATUS_INVALID_ARGUMENT, 1, 1);
    s.codes[COLS + 1] = 0;
    s.zeros[GROUPS] = 3;
    refuse(&s.view, QL_STATUS_INVALID_ARGUMENT, 1, 0);
    s.view.bits = 0;
    refuse(&s.view, QL_STATUS_INVALID_ARGUMENT, -1, -1);
    s.view.bits = 3;
    if (ternary)
      refuse(&s.view, QL_STATUS_INVALID_ARGUMENT, -1, -1);
  }
}

static void test_with(void **state)
{
  (void)state;
  static const uint32_t later = QL_PART_IN_SCALE | QL_PART_SIDE_COLUMNS | QL_PART_LOW_RANK;
  sample s, t;
  ql_qmat *q = NULL, *changed = NULL, *again = NULL;
  plain_sample(&s);
  add_parts(&s, QL_PART_FLOAT_ZEROS, false);
  assert_int_equal(ql_qmat_create(ctx, &s.view, &q, NULL), QL_STATUS_OK);
  plain_sample(&t);
  t.view = (ql_qmat_view){.struct_size = sizeof t.view};
  add_parts(&t, later, true);
  assert_int_equal(ql_qmat_with(ctx, q, &t.view, &changed, NULL), QL_STATUS_OK);
  assert_int_equal(ql_qmat_parts(q), QL_PART_FLOAT_ZEROS);
  add_parts(&s, 0, false);
  ql_qmat_view want = t.view;
  want.rows = ROWS, want.cols = COLS, want.groups = GROUPS, want.bits = 4;
  want.codes = s.codes, want.scales = s.scales, want.fzeros = s.fzeros;
  check_view(changed, &want);
  check_weights(changed, &want);
  /* Other scales with the codes kept: the parts stay. */
  ql_qmat_view scales = {.struct_size = sizeof scales, .scales = t.scales, .rows = ROWS};
  assert_int_equal(ql_qmat_with(ctx, changed, &scales, &again, NULL), QL_STATUS_OK);
  want.scales = t.scales;
  check_view(again, &want);
  check_weights(again, &want);
  ql_qmat_destroy(again);
  again = NULL;
  /* Parts of another matrix. */
  ql_error error = QL_ERROR_INIT;
  ql_qmat_view wrong = {.struct_size = sizeof wrong, .in_scale = t.in_scale, .cols = COLS + 1};
  assert_int_equal(ql_qmat_with(ctx, q, &wrong, &again, &error), QL_STATUS_SHAPE);
  wrong = (ql_qmat_view){.struct_size = sizeof wrong, .bits = 3};
  assert_int_equal(ql_qmat_with(ctx, q, &wrong, &again, &error), QL_STATUS_INVALID_ARGUMENT);
  wrong = (ql_qmat_view){.struct_size = sizeof wrong, .g_idx = t.side_cols};
  assert_int_equal(ql_qmat_with(ctx, q, &wrong, &again, &error), QL_STATUS_INVALID_ARGUMENT);
  wrong = (ql_qmat_view){.struct_size = sizeof wrong, .zeros = t.zeros};
  assert_int_equal(ql_qmat_with(ctx, q, &wrong, &again, &error), QL_STATUS_INVALID_ARGUMENT);
  wrong = (ql_qmat_view){.struct_size = sizeof wrong, .rank = RANK, .lora_a = t.lora_a};
  assert_int_equal(ql_qmat_with(ctx, q, &wrong, &again, &error), QL_STATUS_DTYPE);
  wrong = (ql_qmat_view){.struct_size = 8};
  assert_int_equal(ql_qmat_with(ctx, q, &wrong, &again, &error), QL_STATUS_INVALID_ARGUMENT);
  assert_int_equal(ql_qmat_with(ctx, NULL, &scales, &again, &error), QL_STATUS_INVALID_ARGUMENT);
  assert_null(again);
  ql_qmat_destroy(changed);
  ql_qmat_destroy(q);
}

/* A format that has no place for a part says so, and names it. */
static void test_format_refuses(void **state)
{
  (void)state;
  sample s;
  ql_qmat *q = NULL;
  ql_error error = QL_ERROR_INIT;
  plain_sample(&s);
  add_parts(&s, QL_PART_FLOAT_ZEROS | QL_PART_LOW_RANK, true);
  assert_int_equal(ql_qmat_create(ctx, &s.view, &q, NULL), QL_STATUS_OK);
  assert_int_equal(ql_format_encode(ctx, QL_FORMAT_GPTQ_V2, q, NULL, 0, &error),
                   QL_STATUS_UNSUPPORTED);
  assert_non_null(strstr(error.text, "float zero"));
  ql_qmat_destroy(q);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_combination), cmocka_unit_test(test_smaller_view),
      cmocka_unit_test(test_versions),          cmocka_unit_test(test_refused),
      cmocka_unit_test(test_small_widths),      cmocka_unit_test(test_with),
      cmocka_unit_test(test_format_refuses),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
