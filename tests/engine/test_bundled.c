/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"

#include "engine_fixture.h"
#include "scratch.h"

#include <stdlib.h>

/* The model that ships, against the oracle on the same weights. argv[1] is its directory. */

static const char *directory;

static const oracle_spec docs_5m = {.name = "docs-5m",
                                    .class_name = "LlamaForCausalLM",
                                    .hidden = 256,
                                    .ffn = 768,
                                    .layers = 6,
                                    .heads = 8,
                                    .kv_heads = 4,
                                    .head_dim = 32,
                                    .vocab = 2048,
                                    .context = 256,
                                    .tied = 1,
                                    .dtype = "BF16",
                                    .rope = {.kind = "default", .theta = 10000},
                                    .extra = ""};

/* Replaces the oracle's random values by those of the file. */
static void fill(oracle_model *oracle, const ql_file *file)
{
  assert_int_equal(ql_file_count(file), oracle->count);
  for (size_t i = 0; i < oracle->count; i++) {
    oracle_tensor *t = &oracle->tensors[i];
    const size_t shape[2] = {t->rows, t->cols};
    size_t index;
    ql_tensor stored, values;
    assert_int_equal(ql_file_find(file, t->name, &index, NULL), QL_STATUS_OK);
    assert_int_equal(ql_file_tensor(file, index, &stored, NULL), QL_STATUS_OK);
    ql_tensor_init(&values, t->values, QL_DTYPE_F64, t->cols == 0 ? 1 : 2, shape);
    assert_int_equal(ql_tensor_convert(ctx, &stored, &values, NULL), QL_STATUS_OK);
  }
}

static void test_logits(void **state)
{
  (void)state;
  enum { TOKENS = 24 };
  int32_t tokens[TOKENS];
  oracle_model *oracle = oracle_create(&docs_5m, 1);
  qle_model *model = must_open(directory, 0);
  fill(oracle, qle_model_file(model));
  random_tokens(tokens, TOKENS, docs_5m.vocab, 6);
  double *expected = calloc(TOKENS * docs_5m.vocab, sizeof *expected);
  assert_non_null(expected);
  oracle_logits(oracle, tokens, TOKENS, expected);
  float *logits = run(model, tokens, TOKENS, TOKENS);
  const double error = oracle_difference(logits, expected, TOKENS * docs_5m.vocab);
  if (!(error <= 2e-5))
    fail_msg("logits differ by %.3g of the largest", error);
  free(expected);
  free(logits);
  qle_model_close(model);
  oracle_free(oracle);
}

static void test_config(void **state)
{
  (void)state;
  qle_model *model = must_open(directory, 1);
  const qle_config *config = qle_model_config(model);
  assert_int_equal(config->context, docs_5m.context);
  assert_int_equal(config->eos_count, 1);
  assert_int_equal(config->eos[0], 0);
  assert_int_equal(config->bos, 0);
  assert_true(config->rms_eps == 1e-5f);
  qle_model_close(model);
}

int main(int argc, char **argv)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_logits),
      cmocka_unit_test(test_config),
  };
  if (argc != 2)
    return 2;
  directory = argv[1];
  return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
