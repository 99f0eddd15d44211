/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"

#include "oracle.h"
#include "rope.h"

#include <math.h>
#include <string.h>

/* Frequencies against the oracle's formulas in double precision, and against check values. */

static qle_rope_kind kind_of(const char *kind)
{
  static const char *const kinds[] = {"default", "linear", "llama3", "yarn"};
  size_t i = 0;
  while (strcmp(kind, kinds[i]) != 0)
    i++;
  return (qle_rope_kind)i;
}

static void check(const oracle_rope *o, size_t d)
{
  const qle_rope r = {.kind = kind_of(o->kind),
                      .theta = o->theta,
                      .factor = o->factor,
                      .low_freq_factor = o->low,
                      .high_freq_factor = o->high,
                      .beta_fast = o->beta_fast,
                      .beta_slow = o->beta_slow,
                      .truncate = !o->no_truncate,
                      .original_context = o->original};
  qle_rope_table table;
  assert_int_equal(qle_rope_init(&table, &r, d, NULL), QL_STATUS_OK);
  for (size_t i = 0; i < d / 2; i++) {
    const double expected = oracle_frequency(o, i, d);
    if (fabs((double)table.inv_freq[i] - expected) > 3e-6 * expected)
      fail_msg("%s: frequency %zu is %.9g, not %.9g", o->kind, i, (double)table.inv_freq[i],
               expected);
  }
  qle_rope_free(&table);
}

static void test_formulas(void **state)
{
  (void)state;
  check(&(oracle_rope){.kind = "default", .theta = 10000}, 64);
  check(&(oracle_rope){.kind = "default", .theta = 10000}, 2);
  check(&(oracle_rope){.kind = "linear", .theta = 1e6, .factor = 4}, 128);
  check(
      &(oracle_rope){
          .kind = "llama3", .theta = 5e5, .factor = 8, .low = 1, .high = 4, .original = 8192},
      128);
  oracle_rope yarn = {.kind = "yarn",
                      .theta = 1e6,
                      .factor = 4,
                      .beta_fast = 32,
                      .beta_slow = 1,
                      .original = 32768};
  check(&yarn, 128);
  yarn.no_truncate = 1;
  check(&yarn, 128);
  yarn.no_truncate = 0;
  yarn.original = 64;
  yarn.theta = 10000;
  check(&yarn, 16);
}

/* The divisors of Llama 3.1's frequencies, as GGUF files of that model store them. */
static void test_llama3_check_values(void **state)
{
  (void)state;
  const qle_rope scaled = {.kind = QLE_ROPE_LLAMA3,
                           .theta = 5e5,
                           .factor = 8,
                           .low_freq_factor = 1,
                           .high_freq_factor = 4,
                           .original_context = 8192};
  const qle_rope unscaled = {.kind = QLE_ROPE_DEFAULT, .theta = 5e5, .factor = 1};
  static const double divisors[] = {1.207484, 1.553415, 2.026313, 2.694530, 3.684253, 5.257327};
  qle_rope_table a, b;
  assert_int_equal(qle_rope_init(&a, &scaled, 128, NULL), QL_STATUS_OK);
  assert_int_equal(qle_rope_init(&b, &unscaled, 128, NULL), QL_STATUS_OK);
  for (size_t i = 0; i < 64; i++) {
    const double expected = i <= 28 ? 1 : i >= 35 ? 8 : divisors[i - 29];
    const double divisor = (double)b.inv_freq[i] / (double)a.inv_freq[i];
    if (fabs(divisor - expected) > 5e-6 * expected)
      fail_msg("divisor %zu is %.7f, not %.7f", i, divisor, expected);
  }
  qle_rope_free(&a);
  qle_rope_free(&b);
}

static void test_tables(void **state)
{
  (void)state;
  const qle_rope r = {.kind = QLE_ROPE_YARN,
                      .theta = 10000,
                      .factor = 4,
                      .beta_fast = 32,
                      .beta_slow = 1,
                      .truncate = 1,
                      .original_context = 128};
  const double scale = 0.1 * log(4) + 1;
  qle_rope_table table;
  assert_int_equal(qle_rope_init(&table, &r, 32, NULL), QL_STATUS_OK);
  assert_int_equal(qle_rope_reserve(&table, 10, NULL), QL_STATUS_OK);
  const float early = table.cosines[9 * 16 + 3];
  assert_int_equal(qle_rope_reserve(&table, 1000, NULL), QL_STATUS_OK);
  assert_true(table.capacity >= 1000);
  assert_true(table.cosines[9 * 16 + 3] == early);
  for (size_t p = 0; p < 1000; p += 37)
    for (size_t i = 0; i < 16; i++) {
      const double angle = (double)((float)p * table.inv_freq[i]);
      assert_true(fabs((double)table.cosines[p * 16 + i] - cos(angle) * scale) < 3e-7);
      assert_true(fabs((double)table.sines[p * 16 + i] - sin(angle) * scale) < 3e-7);
    }
  qle_rope_free(&table);
}

static void test_attention_factor(void **state)
{
  (void)state;
  qle_rope r = {.kind = QLE_ROPE_YARN,
                .theta = 10000,
                .factor = 40,
                .beta_fast = 32,
                .beta_slow = 1,
                .truncate = 1,
                .original_context = 128,
                .mscale = 1,
                .mscale_all_dim = 0.5};
  qle_rope_table table;
  assert_int_equal(qle_rope_init(&table, &r, 32, NULL), QL_STATUS_OK);
  const double expected = (0.1 * log(40) + 1) / (0.05 * log(40) + 1);
  assert_true(fabs((double)table.scale - expected) < 1e-6);
  qle_rope_free(&table);
  r.attention_factor = 1.25;
  assert_int_equal(qle_rope_init(&table, &r, 32, NULL), QL_STATUS_OK);
  assert_true(table.scale == 1.25f);
  qle_rope_free(&table);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_formulas),
      cmocka_unit_test(test_llama3_check_values),
      cmocka_unit_test(test_tables),
      cmocka_unit_test(test_attention_factor),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
