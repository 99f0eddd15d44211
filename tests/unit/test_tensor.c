/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"

#include <quantlib/quantlib.h>

#include <math.h>
#include <string.h>

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

static void test_sizes(void **state)
{
  (void)state;
  size_t bytes = 7;
  const size_t shape[3] = {2, 3, 5}, wrap[2] = {(size_t)1 << 32, (size_t)1 << 32};
  const size_t zero_then_wrap[3] = {0, (size_t)1 << 63, 4};
  assert_int_equal(ql_tensor_bytes(QL_DTYPE_F32, 3, shape, &bytes), QL_STATUS_OK);
  assert_int_equal(bytes, 120);
  assert_int_equal(ql_tensor_bytes(QL_DTYPE_I4, 3, shape, &bytes), QL_STATUS_OK);
  assert_int_equal(bytes, 18); /* six rows of five nibbles, each row in whole bytes */
  assert_int_equal(ql_tensor_bytes(QL_DTYPE_F64, 0, NULL, &bytes), QL_STATUS_OK);
  assert_int_equal(bytes, 8);
  assert_int_equal(ql_tensor_bytes(QL_DTYPE_U8, 2, wrap, &bytes), QL_STATUS_OVERFLOW);
  assert_int_equal(ql_tensor_bytes(QL_DTYPE_F32, 3, zero_then_wrap, &bytes), QL_STATUS_OVERFLOW);
  assert_int_equal(ql_tensor_bytes(99, 3, shape, &bytes), QL_STATUS_DTYPE);
  assert_int_equal(ql_tensor_bytes(QL_DTYPE_F32, 9, shape, &bytes), QL_STATUS_INVALID_ARGUMENT);
  assert_int_equal(bytes, 8);
}

static void test_names(void **state)
{
  (void)state;
  for (ql_dtype d = -1; d < 80; d++)
    if (ql_dtype_bits(d) != 0)
      assert_int_equal(ql_dtype_from_name(ql_dtype_name(d)), d);
    else
      assert_string_equal(ql_dtype_name(d), "?");
  assert_int_equal(ql_dtype_from_name("F33"), QL_DTYPE_NONE);
  assert_int_equal(ql_dtype_from_name(NULL), QL_DTYPE_NONE);
}

static void test_check(void **state)
{
  (void)state;
  float data[6];
  ql_tensor t;
  ql_error error = QL_ERROR_INIT;
  assert_int_equal(ql_tensor_init_2d(&t, data, QL_DTYPE_F32, 2, 3), QL_STATUS_OK);
  assert_int_equal(ql_tensor_check(&t, &error), QL_STATUS_OK);
  t.device = 1;
  assert_int_equal(ql_tensor_check(&t, &error), QL_STATUS_UNSUPPORTED);
  t.device = 0, t.reserved[1] = 1;
  assert_int_equal(ql_tensor_check(&t, &error), QL_STATUS_INVALID_ARGUMENT);
  t.reserved[1] = 0, t.data = NULL;
  assert_int_equal(ql_tensor_check(&t, &error), QL_STATUS_INVALID_ARGUMENT);
  t.shape[0] = 0; /* nothing in it: no data needed */
  assert_int_equal(ql_tensor_check(&t, &error), QL_STATUS_OK);
  assert_int_equal(ql_tensor_check(NULL, &error), QL_STATUS_INVALID_ARGUMENT);
}

/* A transposed, misaligned source into a padded destination. */
static void test_convert_strided(void **state)
{
  (void)state;
  enum { ROWS = 300, COLS = 7 };
  static unsigned char raw[ROWS * COLS * 4 + 1];
  static uint16_t out[ROWS * 9];
  ql_tensor src, dst;
  for (int r = 0; r < ROWS; r++)
    for (int c = 0; c < COLS; c++) {
      const float v = (float)(r * 31 - c * 1000) * 0.125f;
      memcpy(raw + 1 + 4 * (c * ROWS + r), &v, 4);
    }
  assert_int_equal(ql_tensor_init_2d(&src, raw + 1, QL_DTYPE_F32, ROWS, COLS), QL_STATUS_OK);
  src.stride[0] = 4, src.stride[1] = 4 * ROWS;
  assert_int_equal(ql_tensor_init_2d(&dst, out, QL_DTYPE_BF16, ROWS, COLS), QL_STATUS_OK);
  dst.stride[0] = 18;
  memset(out, 0xee, sizeof out);
  assert_int_equal(ql_tensor_convert(ctx, &src, &dst, NULL), QL_STATUS_OK);
  for (int r = 0; r < ROWS; r++) {
    for (int c = 0; c < COLS; c++) {
      const float want = (float)(r * 31 - c * 1000) * 0.125f;
      float got;
      const uint32_t bits = (uint32_t)out[r * 9 + c] << 16;
      memcpy(&got, &bits, 4);
      assert_true(fabsf(got - want) <= fabsf(want) * 0x1p-8f);
    }
    assert_int_equal(out[r * 9 + 7], 0xeeee);
  }
  assert_int_equal(ql_tensor_init_2d(&dst, out, QL_DTYPE_I8, ROWS, COLS), QL_STATUS_OK);
  assert_int_equal(ql_tensor_convert(ctx, &src, &dst, NULL), QL_STATUS_DTYPE);
  assert_int_equal(ql_tensor_init_2d(&dst, out, QL_DTYPE_F16, COLS, ROWS), QL_STATUS_OK);
  assert_int_equal(ql_tensor_convert(ctx, &src, &dst, NULL), QL_STATUS_SHAPE);
}

static void test_finite(void **state)
{
  (void)state;
  static float data[3 * 700];
  ql_error error = QL_ERROR_INIT;
  ql_tensor t;
  assert_int_equal(ql_tensor_init_2d(&t, data, QL_DTYPE_F32, 3, 700), QL_STATUS_OK);
  assert_int_equal(ql_tensor_check_finite(ctx, &t, &error), QL_STATUS_OK);
  data[2 * 700 + 699] = INFINITY;
  data[1 * 700 + 300] = NAN;
  assert_int_equal(ql_tensor_check_finite(ctx, &t, &error), QL_STATUS_NUMERIC);
  assert_int_equal(error.row, 1);
  assert_int_equal(error.col, 300);
  assert_non_null(strstr(error.text, "NaN"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sizes),  cmocka_unit_test(test_names),
      cmocka_unit_test(test_check),  cmocka_unit_test(test_convert_strided),
      cmocka_unit_test(test_finite),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
