/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"

#include "engine_fixture.h"
#include "scratch.h"

#include <math.h>
#include <stdlib.h>

const oracle_spec small_llama = {.name = "llama, tied, grouped queries",
                                 .class_name = "LlamaForCausalLM",
                                 .hidden = 32,
                                 .ffn = 48,
                                 .layers = 3,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 8,
                                 .vocab = 61,
                                 .context = 128,
                                 .tied = 1,
                                 .dtype = "F32",
                                 .rope = {.kind = "default", .theta = 10000},
                                 .extra = ""};

ql_ctx *ctx;

int fixture_setup(void **state)
{
  (void)state;
  return ql_ctx_create(NULL, &ctx, NULL) == QL_STATUS_OK ? 0 : -1;
}

int fixture_teardown(void **state)
{
  (void)state;
  ql_ctx_destroy(ctx);
  scratch_remove();
  return 0;
}

qle_model *must_open(const char *dir, int lazy)
{
  qle_model *model = NULL;
  ql_error error = QL_ERROR_INIT;
  const qle_model_options options = {.lazy = lazy};
  if (qle_model_open(ctx, dir, &options, &model, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  return model;
}

ql_kv *must_cache(const qle_model *model, size_t capacity)
{
  ql_kv *kv = NULL;
  assert_int_equal(qle_model_cache(model, capacity, &kv, NULL), QL_STATUS_OK);
  return kv;
}

float *run(qle_model *model, const int32_t *tokens, size_t count, size_t step)
{
  const size_t vocab = qle_model_config(model)->vocab;
  float *logits = calloc(count * vocab, sizeof *logits);
  assert_non_null(logits);
  ql_kv *kv = must_cache(model, count);
  for (size_t i = 0; i < count; i += step) {
    const size_t length = count - i < step ? count - i : step;
    const qle_batch batch = {1, &length, &kv};
    ql_error error = QL_ERROR_INIT;
    if (qle_model_forward(model, &batch, tokens + i, 0, logits + i * vocab, &error) != QL_STATUS_OK)
      fail_msg("%s", error.text);
  }
  ql_kv_destroy(kv);
  return logits;
}

void random_tokens(int32_t *tokens, size_t count, size_t vocab, uint64_t seed)
{
  for (size_t i = 0; i < count; i++)
    tokens[i] = (int32_t)(oracle_random(&seed) % vocab);
}

float difference(const float *a, const float *b, size_t count)
{
  float worst = 0, largest = 0;
  for (size_t i = 0; i < count; i++) {
    worst = fmaxf(worst, fabsf(a[i] - b[i]));
    largest = fmaxf(largest, fabsf(b[i]));
    if (isnan(a[i]) || isnan(b[i]))
      return INFINITY;
  }
  return worst / largest;
}
