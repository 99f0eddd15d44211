/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"

#include "engine_fixture.h"
#include "scratch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Models that lie: every one an error that names file and tensor, none a crash. */

/* Opens scratch "model", which must fail with this status and these words in the text. */
static void must_refuse(ql_status status, const char *word, const char *other)
{
  qle_model *model = NULL;
  ql_error error = QL_ERROR_INIT;
  const ql_status got = qle_model_open(ctx, scratch_path("model"), NULL, &model, &error);
  if (got != status || strstr(error.text, word) == NULL || strstr(error.text, other) == NULL)
    fail_msg("%d, not %d, with \"%s\" and \"%s\": %s", (int)got, (int)status, word, other,
             error.text);
  assert_null(model);
  assert_int_equal(qle_model_open(ctx, scratch_path("model"), NULL, &model, NULL), status);
  remove_tree(scratch_path("model"));
}

/* The small model, to be spoilt. */
static oracle_model *fresh(void)
{
  return oracle_create(&small_llama, 1);
}

static void write_and_free(oracle_model *model)
{
  oracle_write(model, scratch_path("model"));
  oracle_free(model);
}

static void rename_tensor(const char *from, const char *to)
{
  oracle_model *model = fresh();
  snprintf(oracle_find(model, from)->name, sizeof model->tensors->name, "%s", to);
  write_and_free(model);
}

static void test_missing_tensor(void **state)
{
  (void)state;
  static const char *const names[] = {
      "model.embed_tokens.weight",
      "model.norm.weight",
      "model.layers.1.input_layernorm.weight",
      "model.layers.2.post_attention_layernorm.weight",
      "model.layers.0.self_attn.k_proj.weight",
      "model.layers.2.mlp.down_proj.weight",
  };
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    rename_tensor(names[i], "something.else");
    must_refuse(QL_STATUS_NOT_FOUND, names[i], "model");
  }
}

static void test_unexplained_tensor(void **state)
{
  (void)state;
  oracle_spec spec = small_llama;
  spec.qk_norm = 1;
  write_and_free(oracle_create(&spec, 1));
  must_refuse(QL_STATUS_UNSUPPORTED, "self_attn.k_norm.weight", "model.safetensors");
  spec = small_llama;
  spec.qkv_bias = 1;
  write_and_free(oracle_create(&spec, 1));
  must_refuse(QL_STATUS_UNSUPPORTED, "self_attn.k_proj.bias", "model.safetensors");
  /* Fewer layers in the configuration than in the file. */
  write_and_free(fresh());
  spec = small_llama;
  spec.layers = 2;
  oracle_write_config(&spec, scratch_path("model"));
  must_refuse(QL_STATUS_UNSUPPORTED, "model.layers.2.", "config.json");
}

/* Buffers of old programs and the copy of a tied head are no reason to refuse. */
static void test_harmless_tensors(void **state)
{
  (void)state;
  oracle_spec spec = small_llama;
  spec.tied = 0;
  write_and_free(oracle_create(&spec, 1));
  oracle_write_config(&small_llama, scratch_path("model"));
  qle_model_close(must_open(scratch_path("model"), 0));
  remove_tree(scratch_path("model"));
}

/* Each size of the configuration, one at a time not that of the file. */
static void test_wrong_sizes(void **state)
{
  (void)state;
  static const struct {
    size_t offset;
    const char *tensor;
  } lies[] = {
      {offsetof(oracle_spec, hidden), "model.embed_tokens.weight"},
      {offsetof(oracle_spec, vocab), "model.embed_tokens.weight"},
      {offsetof(oracle_spec, ffn), "mlp.gate_proj.weight"},
      {offsetof(oracle_spec, heads), "self_attn.q_proj.weight"},
      {offsetof(oracle_spec, kv_heads), "self_attn.k_proj.weight"},
      {offsetof(oracle_spec, head_dim), "self_attn.q_proj.weight"},
      {offsetof(oracle_spec, layers), "model.layers.3."},
  };
  for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
    write_and_free(fresh());
    oracle_spec spec = small_llama;
    size_t *member = (size_t *)(void *)((char *)&spec + lies[i].offset);
    *member *= 2;
    oracle_write_config(&spec, scratch_path("model"));
    must_refuse(lies[i].offset == offsetof(oracle_spec, layers) ? QL_STATUS_NOT_FOUND
                                                                : QL_STATUS_SHAPE,
                lies[i].tensor, "model");
  }
}

/* A configuration that asks for terabytes is contradicted by the file before any memory is taken.
 */
static void test_absurd_sizes(void **state)
{
  (void)state;
  write_and_free(fresh());
  oracle_spec spec = small_llama;
  spec.hidden = (size_t)1 << 20;
  spec.ffn = (size_t)1 << 22;
  spec.vocab = (size_t)1 << 24;
  spec.layers = 1024;
  oracle_write_config(&spec, scratch_path("model"));
  must_refuse(QL_STATUS_SHAPE, "model.embed_tokens.weight", "[16777216, 1048576]");
}

static void test_wrong_shape(void **state)
{
  (void)state;
  oracle_model *model = fresh();
  oracle_tensor *t = oracle_find(model, "model.layers.1.mlp.up_proj.weight");
  t->rows = 24;
  t->cols = 64;
  write_and_free(model);
  must_refuse(QL_STATUS_SHAPE, "model.layers.1.mlp.up_proj.weight is F32 [24, 64]", "[48, 32]");
  model = fresh();
  t = oracle_find(model, "model.layers.1.mlp.up_proj.weight");
  t->rows *= t->cols;
  t->cols = 0;
  write_and_free(model);
  must_refuse(QL_STATUS_SHAPE, "[1536]", "[48, 32]");
  model = fresh();
  t = oracle_find(model, "model.norm.weight");
  t->cols = 1;
  write_and_free(model);
  must_refuse(QL_STATUS_SHAPE, "model.norm.weight is F32 [32, 1]", "[32]");
}

static void test_not_finite(void **state)
{
  (void)state;
  static const char *const names[] = {
      "model.embed_tokens.weight",
      "model.norm.weight",
      "model.layers.2.input_layernorm.weight",
      "model.layers.1.self_attn.v_proj.weight",
  };
  static const double values[] = {NAN, INFINITY, -INFINITY};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    for (size_t j = 0; j < 3; j++) {
      oracle_model *model = fresh();
      oracle_find(model, names[i])->values[17] = values[j];
      write_and_free(model);
      must_refuse(QL_STATUS_NUMERIC, names[i], "model.safetensors");
    }
}

static void test_position_of_nan(void **state)
{
  (void)state;
  oracle_model *oracle = fresh();
  oracle_find(oracle, "model.layers.1.self_attn.v_proj.weight")->values[3 * 32 + 5] = NAN;
  write_and_free(oracle);
  qle_model *model = must_open(scratch_path("model"), 1);
  ql_error error = QL_ERROR_INIT;
  assert_int_equal(qle_block_load(model, 0, &error), QL_STATUS_OK);
  assert_int_equal(qle_block_load(model, 1, &error), QL_STATUS_NUMERIC);
  assert_int_equal(error.row, 3);
  assert_int_equal(error.col, 5);
  assert_string_equal(error.tensor, "model.layers.1.self_attn.v_proj.weight");
  assert_non_null(strstr(error.file, "model.safetensors"));
  assert_int_equal(qle_block_load(model, 2, &error), QL_STATUS_OK);
  qle_model_close(model);
  remove_tree(scratch_path("model"));
}

static void test_wrong_type(void **state)
{
  (void)state;
  oracle_model *model = fresh();
  model->spec.dtype = "I32";
  write_and_free(model);
  must_refuse(QL_STATUS_DTYPE, "model.embed_tokens.weight is I32", "F32");
}

static void test_truncated(void **state)
{
  (void)state;
  write_and_free(fresh());
  char path[1024];
  snprintf(path, sizeof path, "%s/model.safetensors", scratch_path("model"));
  size_t size = 0;
  unsigned char *bytes = read_bytes(path, &size);
  assert_non_null(bytes);
  for (size_t cut = 0; cut < size; cut += cut < 600 ? 37 : 9973) {
    write_bytes(path, bytes, cut);
    qle_model *model = NULL;
    ql_error error = QL_ERROR_INIT;
    assert_int_equal(qle_model_open(ctx, scratch_path("model"), NULL, &model, &error),
                     QL_STATUS_FORMAT);
    assert_non_null(strstr(error.text, "model.safetensors"));
  }
  free(bytes);
  remove_tree(scratch_path("model"));
}

static void test_nothing_there(void **state)
{
  (void)state;
  must_refuse(QL_STATUS_NOT_FOUND, "config.json", "model");
  oracle_write_config(&small_llama, scratch_path("model"));
  must_refuse(QL_STATUS_NOT_FOUND, "safetensors", "model");
}

/* An allocator that fails once, at the call with that number, and counts what is not given back. */
typedef struct meter {
  size_t calls, fail_at, live;
} meter;

static void *metered_alloc(void *user, size_t size, size_t align)
{
  meter *m = user;
  void *block = NULL;
  if (m->calls++ == m->fail_at || posix_memalign(&block, align < 16 ? 16 : align, size) != 0)
    return NULL;
  m->live++;
  return block;
}

static void metered_free(void *user, void *block)
{
  meter *m = user;
  m->live -= block != NULL;
  free(block);
}

/* Opens the model and runs it once. */
static ql_status open_and_run(const ql_ctx *metered, ql_error *error)
{
  static const int32_t tokens[3] = {1, 2, 3};
  float logits[64];
  const size_t length = 3;
  qle_model *model = NULL;
  ql_kv *kv = NULL;
  ql_status status = qle_model_open(metered, scratch_path("model"), NULL, &model, error);
  if (status == QL_STATUS_OK)
    status = qle_model_cache(model, 3, &kv, error);
  if (status == QL_STATUS_OK) {
    const qle_batch batch = {1, &length, &kv};
    status = qle_model_forward(model, &batch, tokens, 1, logits, error);
    assert_int_equal(ql_kv_length(kv, 0), status == QL_STATUS_OK ? 3 : 0);
  }
  ql_kv_destroy(kv);
  qle_model_close(model);
  return status;
}

static void test_every_allocation_fails_once(void **state)
{
  (void)state;
  write_and_free(fresh());
  ql_status status = QL_STATUS_NO_MEMORY;
  size_t failures = 0;
  for (size_t n = 0; status != QL_STATUS_OK; n++) {
    meter m = {.fail_at = SIZE_MAX};
    ql_ctx_config config = QL_CTX_CONFIG_INIT;
    config.allocator = (ql_allocator){&m, metered_alloc, metered_free};
    ql_ctx *metered = NULL;
    assert_int_equal(ql_ctx_create(&config, &metered, NULL), QL_STATUS_OK);
    const size_t before = m.live;
    m.fail_at = m.calls + n;
    ql_error error = QL_ERROR_INIT;
    status = open_and_run(metered, &error);
    if (status != QL_STATUS_OK && status != QL_STATUS_NO_MEMORY)
      fail_msg("allocation %zu: %d, %s", n, (int)status, error.text);
    assert_int_equal(m.live, before);
    failures += status != QL_STATUS_OK;
    ql_ctx_destroy(metered);
  }
  assert_in_range(failures, 20, 100000);
  remove_tree(scratch_path("model"));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_missing_tensor),   cmocka_unit_test(test_unexplained_tensor),
      cmocka_unit_test(test_harmless_tensors), cmocka_unit_test(test_wrong_sizes),
      cmocka_unit_test(test_absurd_sizes),     cmocka_unit_test(test_wrong_shape),
      cmocka_unit_test(test_not_finite),       cmocka_unit_test(test_position_of_nan),
      cmocka_unit_test(test_wrong_type),       cmocka_unit_test(test_truncated),
      cmocka_unit_test(test_nothing_there),    cmocka_unit_test(test_every_allocation_fails_once),
  };
  return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
