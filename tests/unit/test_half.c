/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"

#include "half.h"

#include <math.h>
#include <stdlib.h>

/* The value of a 16-bit pattern with e exponent bits, from the definition of the format. */
static double value_of(uint16_t h, int exponent_bits)
{
  const int mantissa_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (h >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = h & ((1 << mantissa_bits) - 1);
  const double sign = h & 0x8000 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1)
    return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0)
    return sign * ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

static void all_patterns(int exponent_bits, float (*widen)(uint16_t), uint16_t (*narrow)(float))
{
  for (uint32_t h = 0; h < 0x10000; h++) {
    const double want = value_of((uint16_t)h, exponent_bits);
    const float got = widen((uint16_t)h);
    if (isnan(want)) {
      assert_true(isnan(got) && isnan(widen(narrow(got))));
      continue;
    }
    assert_true((double)got == want && (signbit(got) != 0) == (h >= 0x8000));
    assert_int_equal(narrow(got), h);
  }
}

/* Between neighbours a < b of the same sign: below the middle a, above it b, on it the even one. */
static void all_roundings(int exponent_bits, uint16_t (*narrow)(float))
{
  const uint32_t infinity = ((1u << exponent_bits) - 1) << (15 - exponent_bits);
  for (uint32_t h = 0; h < infinity; h++) {
    const double a = value_of((uint16_t)h, exponent_bits);
    const double b = h + 1 == infinity ? 2 * a - value_of((uint16_t)(h - 1), exponent_bits)
                                       : value_of((uint16_t)(h + 1), exponent_bits);
    const float middle = (float)((a + b) / 2);
    const uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);
    assert_int_equal(narrow(middle), even);
    assert_int_equal(narrow(nextafterf(middle, 0)), h);
    assert_int_equal(narrow(nextafterf(middle, INFINITY)), h + 1);
    assert_int_equal(narrow(-middle), even | 0x8000);
  }
}

static void test_f16_patterns(void **state)
{
  (void)state;
  all_patterns(5, qli_f16_to_f32, qli_f32_to_f16);
}

static void test_f16_roundings(void **state)
{
  (void)state;
  all_roundings(5, qli_f32_to_f16);
}

static void test_bf16_patterns(void **state)
{
  (void)state;
  all_patterns(8, qli_bf16_to_f32, qli_f32_to_bf16);
}

static void test_bf16_roundings(void **state)
{
  (void)state;
  /* The last two need a middle that f32 holds: true up to the largest finite bf16. */
  all_roundings(8, qli_f32_to_bf16);
}

static void test_overflow(void **state)
{
  (void)state;
  assert_int_equal(qli_f32_to_f16(1e30f), 0x7c00);
  assert_int_equal(qli_f32_to_f16(-65520.0f), 0xfc00);
  assert_int_equal(qli_f32_to_f16(65519.996f), 0x7bff);
  assert_int_equal(qli_f32_to_bf16(3.4028235e38f), 0x7f80);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_f16_patterns),  cmocka_unit_test(test_f16_roundings),
      cmocka_unit_test(test_bf16_patterns), cmocka_unit_test(test_bf16_roundings),
      cmocka_unit_test(test_overflow),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
