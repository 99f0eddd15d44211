/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"

#include "engine_fixture.h"
#include "generate.h"
#include "scratch.h"

#include <quantlib/threads.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int32_t must_sample(const qle_sampling *sampling, const float *logits, size_t vocab,
                           uint64_t sequence, uint64_t position)
{
  float copy[64];
  int32_t token = -1;
  memcpy(copy, logits, vocab * sizeof *copy);
  assert_int_equal(qle_sample(ctx, sampling, copy, vocab, sequence, position, &token, NULL),
                   QL_STATUS_OK);
  assert_in_range(token, 0, vocab - 1);
  return token;
}

/* Frequencies over many positions against softmax(logits / T), within five standard deviations. */
static void check_distribution(double temperature, const float *logits, const double *p, size_t n)
{
  const qle_sampling sampling = {temperature, 1, 42};
  const size_t draws = 40000;
  size_t counts[64] = {0};
  for (size_t i = 0; i < draws; i++)
    counts[must_sample(&sampling, logits, n, i % 7, i / 7)]++;
  for (size_t i = 0; i < n; i++) {
    const double expected = p[i] * (double)draws;
    const double deviation = sqrt(expected * (1 - p[i])) + 1e-9;
    if (fabs((double)counts[i] - expected) > 5 * deviation)
      fail_msg("token %zu: %zu draws, %.1f expected", i, counts[i], expected);
  }
}

static void test_distribution(void **state)
{
  (void)state;
  const float logits[6] = {1.5f, -2, 0.25f, -INFINITY, 3, 1.5f};
  for (int k = 0; k < 2; k++) {
    const double temperature = k == 0 ? 1 : 2.5;
    double p[6], sum = 0;
    for (size_t i = 0; i < 6; i++)
      sum += p[i] = exp((double)logits[i] / temperature);
    for (size_t i = 0; i < 6; i++)
      p[i] /= sum;
    check_distribution(temperature, logits, p, 6);
  }
}

static void test_greedy_and_nucleus(void **state)
{
  (void)state;
  /* Probabilities 0.5, 0.3, 0.15, 0.05. */
  const float logits[4] = {logf(0.15f), logf(0.5f), logf(0.05f), logf(0.3f)};
  qle_sampling sampling = {0, 1, 3};
  assert_int_equal(must_sample(&sampling, logits, 4, 0, 0), 1);
  sampling.temperature = 1e-300;
  assert_int_equal(must_sample(&sampling, logits, 4, 0, 0), 1);
  const struct {
    double top_p;
    int allowed[4];
  } cases[] = {{0.45, {0, 1, 0, 0}},
               {0.6, {0, 1, 0, 1}},
               {0.9, {1, 1, 0, 1}},
               {0.999, {1, 1, 1, 1}},
               {0, {0, 1, 0, 0}}};
  for (size_t c = 0; c < 5; c++) {
    int got[4] = {0};
    sampling = (qle_sampling){1, cases[c].top_p, 8};
    for (uint64_t i = 0; i < 2000; i++)
      got[must_sample(&sampling, logits, 4, 1, i)] = 1;
    assert_memory_equal(got, cases[c].allowed, sizeof got);
  }
  const float equal[3] = {2, 2, 2};
  sampling = (qle_sampling){0, 1, 3};
  assert_int_equal(must_sample(&sampling, equal, 3, 0, 0), 0);
}

static void test_randomness(void **state)
{
  (void)state;
  float logits[64];
  for (size_t i = 0; i < 64; i++)
    logits[i] = 0;
  qle_sampling a = {1, 1, 5}, b = {1, 1, 6};
  size_t seed = 0, sequence = 0, position = 0;
  for (uint64_t i = 0; i < 1000; i++) {
    const int32_t token = must_sample(&a, logits, 64, i, 2 * i);
    assert_int_equal(token, must_sample(&a, logits, 64, i, 2 * i));
    seed += token == must_sample(&b, logits, 64, i, 2 * i);
    sequence += token == must_sample(&a, logits, 64, i + 1, 2 * i);
    position += token == must_sample(&a, logits, 64, i, 2 * i + 1);
  }
  /* About 16 of 1000 agree by chance. */
  assert_in_range(seed, 1, 45);
  assert_in_range(sequence, 1, 45);
  assert_in_range(position, 1, 45);
}

static void test_not_finite(void **state)
{
  (void)state;
  const qle_sampling sampling = {1, 1, 0};
  float logits[3] = {0, NAN, 1};
  int32_t token = 77;
  ql_error error = QL_ERROR_INIT;
  assert_int_equal(qle_sample(ctx, &sampling, logits, 3, 0, 9, &token, &error), QL_STATUS_NUMERIC);
  logits[1] = INFINITY;
  assert_int_equal(qle_sample(ctx, &sampling, logits, 3, 0, 9, &token, &error), QL_STATUS_NUMERIC);
  logits[0] = logits[1] = logits[2] = -INFINITY;
  assert_int_equal(qle_sample(ctx, &sampling, logits, 3, 0, 9, &token, &error), QL_STATUS_NUMERIC);
  assert_int_equal(token, 77);
}

static qle_model *open_with(const char *extra)
{
  oracle_spec spec = small_llama;
  spec.extra = extra;
  oracle_model *oracle = oracle_create(&spec, 3);
  oracle_write(oracle, scratch_path("model"));
  oracle_free(oracle);
  return must_open(scratch_path("model"), 0);
}

typedef struct text {
  int32_t tokens[200];
  size_t count, stop_at;
} text;

static int collect(void *user, int32_t token)
{
  text *t = user;
  t->tokens[t->count++] = token;
  return t->count == t->stop_at;
}

static text generate(qle_model *model, const int32_t *prompt, size_t prompt_count, size_t count,
                     const qle_sampling *sampling, size_t stop_at)
{
  text t = {.stop_at = stop_at};
  double first = -1, speed = -1;
  ql_error error = QL_ERROR_INIT;
  if (qle_generate(model, prompt, prompt_count, count, sampling, collect, &t, &first, &speed,
                   &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  assert_true(first >= 0 && speed >= 0);
  return t;
}

static void test_greedy_text(void **state)
{
  (void)state;
  qle_model *model = open_with("");
  const size_t vocab = small_llama.vocab;
  int32_t tokens[40] = {5, 9, 33};
  const qle_sampling greedy = {0, 1, 0};
  const text t = generate(model, tokens, 3, 30, &greedy, 0);
  assert_int_equal(t.count, 30);
  memcpy(tokens + 3, t.tokens, 30 * sizeof *tokens);
  float *logits = run(model, tokens, 33, 33);
  for (size_t i = 0; i < 30; i++)
    for (size_t j = 0; j < vocab; j++)
      assert_true(logits[(i + 2) * vocab + j] <=
                  logits[(i + 2) * vocab + (size_t)t.tokens[i]] + 1e-4f);
  free(logits);
  qle_model_close(model);
}

static void test_ends_of_text(void **state)
{
  (void)state;
  qle_model *model = open_with("");
  const int32_t prompt[3] = {5, 9, 33};
  const qle_sampling sampling = {1, 0.9, 11};
  const text whole = generate(model, prompt, 3, 50, &sampling, 0);
  assert_int_equal(whole.count, 50);
  const text again = generate(model, prompt, 3, 50, &sampling, 20);
  assert_int_equal(again.count, 20);
  assert_memory_equal(again.tokens, whole.tokens, 20 * sizeof(int32_t));
  assert_int_equal(generate(model, prompt, 3, 0, &sampling, 0).count, 0);
  /* To the end of the context of 128, the token after it included. */
  assert_int_equal(generate(model, prompt, 3, 199, &sampling, 0).count, 126);
  ql_error error = QL_ERROR_INIT;
  assert_int_equal(qle_generate(model, prompt, 0, 5, &sampling, NULL, NULL, NULL, NULL, &error),
                   QL_STATUS_INVALID_ARGUMENT);
  int32_t longer[129] = {0};
  assert_int_equal(qle_generate(model, longer, 129, 5, &sampling, NULL, NULL, NULL, NULL, &error),
                   QL_STATUS_INVALID_ARGUMENT);
  assert_non_null(strstr(error.text, "129"));
  qle_model_close(model);

  /* The same model with the tenth token as its end: stops before it. */
  char extra[64];
  snprintf(extra, sizeof extra, ",\"eos_token_id\":[60,%d]", (int)whole.tokens[9]);
  size_t first = 0;
  while (whole.tokens[first] != whole.tokens[9])
    first++;
  model = open_with(extra);
  assert_int_equal(generate(model, prompt, 3, 50, &sampling, 0).count, first);
  qle_model_close(model);
}

static int stop_half_way(void *user, double fraction)
{
  double *last = user;
  assert_true(fraction >= *last && fraction < 1);
  *last = fraction;
  return fraction >= 0.5;
}

static void test_calibration_cancelled(void **state)
{
  (void)state;
  static int32_t tokens[4][50];
  double last = 0;
  ql_error error = QL_ERROR_INIT;
  qle_model *model = open_with("");
  assert_int_equal(
      qle_generate_calibration(model, 4, 50, 1, tokens[0], stop_half_way, &last, &error),
      QL_STATUS_CANCELLED);
  assert_true(last >= 0.5 && last < 0.55);
  assert_int_equal(error.status, QL_STATUS_CANCELLED);
  qle_model_close(model);
}

static void test_calibration_text(void **state)
{
  (void)state;
  qle_model *model = open_with(",\"eos_token_id\":[4,17]");
  enum { SEQUENCES = 20, LENGTH = 60 };
  static int32_t a[SEQUENCES][LENGTH], b[SEQUENCES][LENGTH], c[2][LENGTH];
  assert_int_equal(qle_generate_calibration(model, SEQUENCES, LENGTH, 9, a[0], NULL, NULL, NULL),
                   QL_STATUS_OK);
  size_t firsts = 0;
  for (size_t i = 0; i < SEQUENCES; i++) {
    for (size_t j = 0; j < LENGTH; j++) {
      assert_in_range(a[i][j], 0, small_llama.vocab - 1);
      assert_true(a[i][j] != 4 && a[i][j] != 17);
    }
    firsts += a[i][0] != a[0][0];
  }
  assert_true(firsts > 10);
  assert_int_equal(qle_generate_calibration(model, SEQUENCES, LENGTH, 9, b[0], NULL, NULL, NULL),
                   QL_STATUS_OK);
  assert_memory_equal(a, b, sizeof a);
  assert_int_equal(qle_generate_calibration(model, SEQUENCES, LENGTH, 10, b[0], NULL, NULL, NULL),
                   QL_STATUS_OK);
  assert_memory_not_equal(a, b, sizeof a);
  /* Two sequences alone are the first two of twenty. */
  assert_int_equal(qle_generate_calibration(model, 2, LENGTH, 9, c[0], NULL, NULL, NULL),
                   QL_STATUS_OK);
  assert_memory_equal(a, c, sizeof c);
  assert_int_equal(qle_generate_calibration(model, 1, 129, 9, a[0], NULL, NULL, NULL),
                   QL_STATUS_INVALID_ARGUMENT);
  qle_model_close(model);
}

static void test_calibration_threads(void **state)
{
  (void)state;
  static int32_t one[8][50], three[8][50];
  qle_model *model = open_with("");
  assert_int_equal(qle_generate_calibration(model, 8, 50, 1, one[0], NULL, NULL, NULL),
                   QL_STATUS_OK);
  qle_model_close(model);
  ql_threads *pool = NULL;
  assert_int_equal(ql_threads_create(3, &pool), QL_STATUS_OK);
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  config.executor = ql_threads_executor(pool);
  ql_ctx *threaded = NULL, *const plain = ctx;
  assert_int_equal(ql_ctx_create(&config, &threaded, NULL), QL_STATUS_OK);
  ctx = threaded;
  model = open_with("");
  assert_int_equal(qle_generate_calibration(model, 8, 50, 1, three[0], NULL, NULL, NULL),
                   QL_STATUS_OK);
  qle_model_close(model);
  ctx = plain;
  ql_ctx_destroy(threaded);
  ql_threads_destroy(pool);
  assert_memory_equal(one, three, sizeof one);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_distribution),        cmocka_unit_test(test_greedy_and_nucleus),
      cmocka_unit_test(test_randomness),          cmocka_unit_test(test_not_finite),
      cmocka_unit_test(test_greedy_text),         cmocka_unit_test(test_ends_of_text),
      cmocka_unit_test(test_calibration_text),    cmocka_unit_test(test_calibration_cancelled),
      cmocka_unit_test(test_calibration_threads),
  };
  return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
